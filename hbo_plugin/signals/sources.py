"""Sources: what a source of signals is, and what it is shown of the training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import torch
    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.tokens import Predictions


@dataclass(frozen=True)
class Batch:
    """A micro-batch that is being trained on, between its forward and its backward pass.

    Attributes:
        inputs: what the model was given, by name.
        outputs: what it returned, by name.
        rows: the rows of the training set in each sequence of the batch; several where they are packed.
        predictions: of the model; None where nobody could look at them.
        weights: the factor on the gradient of each of these rows, in their order, float64[rows]; None where all count alike.
    """

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    rows: Sequence[Sequence[int]]
    predictions: Predictions | None = None
    weights: NDArray[np.float64] | None = None

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The rows, one sequence after the other, int64[rows]."""
        return np.fromiter((row for sequence in self.rows for row in sequence), np.int64)


class SignalSource(ABC):
    """Measures the signals that it was built for. A subclass overrides what it needs.

    Measuring must leave no trace in the training: no gradient, no random number and no mode of the model may differ
    afterwards. Every rank calls every method at the same step.
    """

    looks_at_predictions = True
    """Whether `observe` wants the predictions of the batch, token by token."""

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Measure nothing yet.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        self.names = tuple(names)
        self._context = context
        self.dropped = 0
        """Measurements that were not finite and were left out, on all ranks together."""

    def begin(self, step: int) -> None:
        """Get ready before the first step of the process; `step` is 0 unless the run is resumed."""

    def observes(self, step: int) -> bool:
        """Whether `observe` wants the training batches of an optimizer step."""
        return False

    @property
    def follows_gradients(self) -> bool:
        """Whether it looks at what backward passes give, and so wants to know the scale of each loss."""
        return False

    def watching(self) -> AbstractContextManager[None]:
        """Watch a micro-batch of this rank while open, through its forward and its backward pass."""
        return nullcontext()

    def observe(self, batch: Batch) -> None:
        """Look at a micro-batch of this rank, between its forward and its backward pass."""

    def rewarded(self, rows: NDArray[np.int64], rewards: NDArray[np.float64]) -> None:
        """Look at what the answers to prompts are worth; every rank sees those of all.

        Args:
            rows: the prompts of a generation batch, int64[prompts].
            rewards: of the answers to each, NaN where one has none, float64[prompts, answers].
        """

    def gather(self) -> None:
        """Bring together what all ranks have observed, at the end of each step that is observed."""

    @abstractmethod
    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Return each of the signals in its shape, NaN where nothing finite was measured."""

    def take_means(self) -> dict[str, dict[str, float]]:
        """Return what was observed since this was last called, for the loggers: by its name, the mean of each dataset."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain JSON values, the same on every rank."""
        return {"dropped": self.dropped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self.dropped = state["dropped"]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a resumed run needs, by name, the same on every rank."""
        return {}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned; ValueError where they do not fit."""
