"""What signals see of a run: the model, its rows, their cells and the ranks. Nothing else of the Trainer reaches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hbo_plugin.clock import Clock
from hbo_plugin.kinds import SUPERVISED
from hbo_plugin.methods.parameters import PENALTY, TWIN_EVERY
from hbo_plugin.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells
    from hbo_plugin.kinds import Kind


@dataclass(frozen=True)
class HeldOutRows:
    """Rows of held-out sets, set after set.

    Attributes:
        rows: tokenised; None where there are none.
        lengths: tokens of each, int32[rows].
        sets: which of them belong to which set, by its name.
    """

    rows: Any = None
    lengths: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    sets: Mapping[str, range] = field(default_factory=dict)


class BranchTrainer(Protocol):
    """Trains branches: some steps apart from the run, from where it stands."""

    steps: int
    """Of a branch."""

    def weights(self) -> NDArray[np.float64]:
        """The weights in force, float64[datasets, levels]."""
        ...

    def open(self) -> AbstractContextManager[None]:
        """Keep the run as it is while branches are trained."""
        ...

    def start(self, weights: NDArray[np.float64], further: NDArray[np.float64]) -> None:
        """Begin a branch where the run stands, on rows by weights of float64[datasets, levels].

        In place of each row comes the one that lies further on in its cell, by such a share of the cell; float64[datasets].
        """
        ...

    def train(self, steps: int, *, averaged: bool = False) -> None:
        """Train it so many steps more, up to the last weights or to the mean of those after each of these steps."""
        ...


@dataclass(frozen=True)
class Context:
    """A run, as what measures sees it.

    Attributes:
        trainer: of Axolotl; read through the properties below alone.
        cells: the layout of the training set.
        ranks: this process among the others.
        clock: what measuring takes inside the training's own passes.
        passes: whether hbo can run the model apart from the training.
        logits: whether a training batch leaves its logits to be looked at.
        kind: of training.
        seed: of the run; what measures draws from a domain of its own in it.
        gradient_rows: rows of a dataset that a gradient is measured on.
        forward_rows: rows of a cell that are measured without gradients.
        copy_steps: steps that copies of the model make to be compared.
        shares: gives how likely each cell is to be drawn now, float64[datasets * levels].
        observed_every: of so many steps in a row, the training batches of the last are looked at.
        twin_every: of so many steps in a row, a twin makes the last of its own.
        penalty: how many times as much as held-out rows the training rows count for a twin.
        steering: the held-out rows that methods look at; none of them judges the run.
        target: how much each of their sets counts, shares that sum to 1.
        tied: the held-out set of each dataset that has one of its own.
        counted: the datasets that a set of the target belongs to.
        branches: what trains them; None where no signal comes from branches.
    """

    trainer: Any
    cells: Cells
    ranks: Ranks = field(default_factory=Ranks)
    clock: Clock = field(default_factory=Clock)
    passes: bool = True
    logits: bool = True
    kind: Kind = SUPERVISED
    seed: int = 0
    gradient_rows: int = 32
    forward_rows: int = 16
    copy_steps: int = 5
    shares: Callable[[], NDArray[np.float64]] = lambda: np.ones(1)
    observed_every: int = 1
    twin_every: int = TWIN_EVERY
    penalty: float = PENALTY
    steering: HeldOutRows = field(default_factory=HeldOutRows)
    target: Mapping[str, float] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()
    branches: BranchTrainer | None = None

    @property
    def model(self) -> Any:
        """The model, which sharded training wraps when it begins."""
        return self.trainer.model

    @property
    def rows(self) -> Any:
        """The tokenised rows of the training set."""
        return self.trainer.train_dataset

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.trainer.optimizer.param_groups[0]["lr"])

    @property
    def budget(self) -> int:
        """Padded tokens of a batch: no more than a micro-batch of the training takes."""
        return int(self.trainer.args.per_device_train_batch_size * self.cells.lengths.max())

    @property
    def pads_left(self) -> bool:
        """Whether the training batches are padded on the left."""
        return getattr(self.trainer.processing_class, "padding_side", "right") == "left"

    def precision(self) -> AbstractContextManager[Any]:
        """The mixed precision of the training, while open."""
        precision: AbstractContextManager[Any] = self.trainer.compute_loss_context_manager()
        return precision
