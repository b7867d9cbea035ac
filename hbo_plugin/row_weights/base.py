"""What row weights are: facts about rows that are being trained on in, a factor on each row's gradient out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SeenRows:
    """Rows of a step, as the training's own forward pass saw them. Every array has one entry a row.

    Attributes:
        row: number of the row in the training set, int64[rows].
        dataset: number of its dataset, int64[rows].
        level: its difficulty level, 0 is the easiest, int64[rows].
        tokens: of its answer, the trained ones, int64[rows].
        loss: mean loss a token of its answer before the step, in nats, float64[rows]; NaN where there is no answer, and
            everywhere for row weights that do not look at it.
        entropy: mean entropy of the predictions of these tokens, in nats, float64[rows]; NaN as `loss` is.
    """

    row: NDArray[np.int64]
    dataset: NDArray[np.int64]
    level: NDArray[np.int64]
    tokens: NDArray[np.int64]
    loss: NDArray[np.float64]
    entropy: NDArray[np.float64]


class RowWeights(ABC):
    """Gives each row of a step a factor on its gradient. A subclass overrides what it needs.

    Ranks train on different rows of one step: whatever changes from step to step must follow from what `begin_step` and
    `end_step` are given, which is the same on all ranks.
    """

    looks: ClassVar[bool] = False
    """Whether `weights` looks at the losses and entropies of the rows, which take some time to compute."""

    def begin_step(self, step: int, rows: NDArray[np.int64]) -> None:
        """An optimizer step begins, numbered from 1, which trains on these rows of the training set on all ranks together, int64[rows]."""

    @abstractmethod
    def weights(self, rows: SeenRows) -> NDArray[np.float64]:
        """Return the factor of each row of a micro-batch of this rank, float64[rows], finite and 0 or more."""

    def end_step(self, step: int, rows: SeenRows, weights: NDArray[np.float64]) -> None:
        """The step was made on these rows with these weights, those of all ranks in the order of the stream."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain JSON values that restore it bit for bit, the same on every rank."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""


class LearnsFromInfluence(RowWeights):
    """Row weights that learn how much a row's gradient serves the held-out rows of the target."""

    looks: ClassVar[bool] = True

    @abstractmethod
    def refreshes(self, step: int) -> bool:
        """Whether the influence of the rows of this step is wanted."""

    @abstractmethod
    def refresh(self, rows: SeenRows, influence: NDArray[np.float64]) -> None:
        """Learn from the rows of a step of all ranks; comes after `end_step`.

        Args:
            rows: in the order of the stream.
            influence: of each, product of the gradient of its loss, summed over its answer's tokens, with that of the
                target's held-out loss, up to a factor that all rows share, float64[rows]; NaN where there is none.
                Above 0, a step on the row lowers the held-out loss.
        """

    def save(self, folder: Path) -> None:
        """The training ended: leave what was learned in the output folder. One rank calls it."""
