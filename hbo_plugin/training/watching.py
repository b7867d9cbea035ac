"""Watching: what looks at each micro-batch that is trained on, through its forward and its backward pass."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.row_weights.weighing import Weighing
from hbo_plugin.signals.head import Head
from hbo_plugin.signals.sources import Batch
from hbo_plugin.signals.tokens import Logits, Predictions, owners_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from hbo_plugin.row_weights.base import RowWeights
    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.sources import SignalSource
    from hbo_plugin.training.branching import Branching


class Watching:
    """Lets the row weights act on every micro-batch, and the sources look at those that they ask for.

    Of the micro-batches of a branch, no source sees anything.
    """

    def __init__(
        self,
        context: Context,
        sources: Collection[SignalSource],
        row_weights: RowWeights | None,
        branching: Branching | None,
        batches: Callable[[], Sequence[Sequence[Sequence[int]]]],
        *,
        layers_seen: bool,
    ) -> None:
        """Watch nothing yet.

        Args:
            context: the run.
            sources: of its signals.
            row_weights: new; None where all rows count alike.
            branching: what trains branches, if anything does.
            batches: gives the rows in each sequence of each micro-batch of the step that is being made, on all ranks.
            layers_seen: whether the layers that are trained can be watched.
        """
        self._sources, self._branching, self._batches = sources, branching, batches
        self._context = context
        self.weighing: Weighing | None = None
        if row_weights is not None:
            self.weighing = Weighing(context, row_weights, self._step_batches, layers_seen=layers_seen)
        self._predictions: Predictions | None = None  # of the micro-batch that is watched
        self._step = 0
        self._done = 0  # micro-batches that this rank had of the step that is being made

    def begin(self, step: int) -> None:
        """The training begins: afresh at step 0, or at the step of the checkpoint that was loaded."""
        self._step = step
        for source in self._sources:
            source.begin(step)
        if self.weighing:
            self.weighing.begin()

    @property
    def _apart(self) -> bool:
        return self._branching is not None and self._branching.sampler is not None

    @property
    def _observing(self) -> list[SignalSource]:
        sources = () if self._apart else self._sources
        return [source for source in sources if source.observes(self._step + 1)]

    @property
    def _looks(self) -> bool:
        """Whether anybody looks at what this micro-batch predicts."""
        return self._weighs or bool(self._observing)

    @property
    def _predicts(self) -> bool:
        """Whether they look at it token by token."""
        return self._weighs or any(source.looks_at_predictions for source in self._observing)

    @property
    def _weighs(self) -> bool:
        """Whether weights of rows follow from it."""
        return self.weighing is not None and self.weighing.looks

    def _step_batches(self) -> tuple[Sequence[Sequence[Sequence[int]]], bool]:
        """The rows of the step that begins, of the run or of a branch; and whether it is of a branch."""
        if self._branching and self._apart:
            return self._branching.batches, True
        return self._batches(), False

    @contextmanager
    def micro_batch(self) -> Iterator[None]:
        """Watch a micro-batch while open: `rows`, its forward pass in `forward`, `observe`, and its backward pass."""
        with ExitStack() as stack:
            if self.weighing:
                stack.enter_context(self.weighing.micro_batch(self._step + 1))
            for source in self._observing:
                stack.enter_context(source.watching())
            yield

    def rows(self) -> Sequence[Sequence[int]] | None:
        """The rows in each sequence of this rank's next micro-batch; None where nothing wants to look at it."""
        if self.weighing:
            return self.weighing.sequences
        if self._apart:
            return None
        number = self._done * self._context.ranks.size + self._context.ranks.rank
        self._done += 1
        return self._batches()[number] if self._observing else None

    @contextmanager
    def forward(self, inputs: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> Iterator[None]:
        """Watch a forward pass while open, where it leaves no logits to look at afterwards.

        Args:
            inputs: of the model.
            rows: in each of its sequences.
        """
        self._predictions = None
        if self._context.logits or not self._predicts:
            yield
            return
        head = Head(self._context.model)

        def look(states: torch.Tensor) -> None:
            with self._context.clock("signals", settled=True):
                self._look(head.of(states), inputs, rows)

        with head.watching(look):
            yield

    def observe(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> None:
        """Look at a micro-batch that was just run forward; see `Batch`."""
        # What looks at the predictions waits for the forward pass, which is the training's.
        with self._context.clock("signals", settled=self._looks):
            if self._predicts and self._context.logits and outputs.get("logits") is not None:
                self._look(Logits.whole(outputs["logits"]), inputs, rows)
            batch = Batch(inputs, outputs, rows, self._predictions)
            if self.weighing:
                batch = replace(batch, weights=self.weighing.weigh(batch))
            for source in self._observing:
                source.observe(batch)

    def rewarded(self, rewards: NDArray[np.float64]) -> None:
        """Look at the rewards of the answers to the prompts of a generation batch, one prompt after the other, float64[answers]."""
        with self._context.clock("signals"):
            rows = np.array(self._batches()[0], np.int64).ravel()
            for source in self._sources:
                source.rewarded(rows, rewards.reshape(len(rows), -1))

    def _look(self, logits: Logits, inputs: Mapping[str, Any], rows: Sequence[Sequence[int]]) -> None:
        """Keep what those who look at this micro-batch want to know of its predictions."""
        observing, context, labels = self._observing, self._context, inputs["labels"]
        names = ("loss", "entropy") if self._weighs or any("entropy" in each.names for each in observing) else ("loss",)
        scaled = any(each.follows_gradients for each in observing)
        scaled |= self.weighing is not None and self.weighing.follows_gradients
        whose = owners_of(tuple(labels.shape), rows, context.cells.lengths, left=context.pads_left)
        self._predictions = Predictions.of(logits, labels, whose, names, scaled=scaled)

    def end_step(self) -> None:
        """The optimizer step was made."""
        observing = self._observing
        with self._context.clock("signals", settled=bool(observing)):
            if self.weighing:
                self.weighing.end_step()
            for source in observing:
                source.gather()
        self._step, self._done = self._step + 1, 0
