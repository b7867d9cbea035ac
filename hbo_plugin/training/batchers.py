"""Batchers: the stream as rows or packed batches for a DataLoader, and which of them were trained on."""

from __future__ import annotations

import math
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch.utils.data import BatchSampler

from hbo_plugin.packing import PackedBatchSampler
from hbo_plugin.training.ahead import StepsAhead
from hbo_plugin.training.generation_batcher import GenerationBatcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells
    from hbo_plugin.clock import Clock
    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import Bins, StepShape


class Batcher(Protocol):
    """What a run asks of a batcher. Neither has a `set_epoch`: where an epoch begins follows from the training."""

    @property
    def head(self) -> int:
        """Position of the next draw. New weights take force here."""
        ...

    @property
    def done(self) -> dict[str, Any]:
        """Where the stream stood after the steps that were finished, as plain JSON values."""
        ...

    def batches(self) -> list[list[list[int]]]:
        """The rows in each sequence of each micro-batch of the step that is being made."""
        ...

    def finish_step(self) -> NDArray[np.int64]:
        """Note that the oldest step that was drawn is made; return its rows, int64[rows]."""
        ...


def make_batcher(
    shape: StepShape, balancer: Balancer, cells: Cells, clock: Clock, done: dict[str, Any] | None
) -> Batcher:
    """The batcher of a run, which continues from `done`, or begins where it is None."""
    if shape.generation:
        return GenerationBatcher(shape, shape.generation, balancer, cells, clock, done)
    if shape.bins is None:
        return RowBatcher(shape, balancer, cells, clock, done)
    return PackedBatcher(shape, shape.bins, balancer, cells, clock, done)


class RowBatcher:
    """The rows of one epoch, in the order of the stream, for `DataLoader(sampler=...)`.

    Every rank iterates the whole stream, and accelerate hands each its share of the batches. An epoch is a whole number
    of optimizer steps, so that none ends in a partial accumulation.
    """

    def __init__(
        self, shape: StepShape, balancer: Balancer, cells: Cells, clock: Clock, done: dict[str, Any] | None
    ) -> None:
        """Draw nothing yet.

        Args:
            shape: of a step.
            balancer: whose stream is drawn from.
            cells: the layout of the training set; an epoch is as many rows as it has, in whole steps.
            clock: for the time that drawing takes.
            done: where the stream stood; None at its beginning.
        """
        self._shape = shape
        self._balancer = balancer
        self._clock = clock
        self._epoch = math.ceil(int(cells.sizes.sum()) / shape.rows) * shape.rows
        self._steps = StepsAhead(self._draw, shape.ahead)
        self._batches: list[list[list[int]]] = []  # of the oldest step: each of its micro-batches asks for them
        self._end = 0  # of the epoch
        self.done = done or {"head": 0}
        self.head: int = self.done["head"]

    def __len__(self) -> int:
        return self._epoch

    def __iter__(self) -> Iterator[int]:
        self.head = self.done["head"]
        self._steps.clear()
        self._batches = []
        skipped = self.head % self._epoch
        # The Trainer, resumed at the end of a run, would make one step more.
        self._end = min(self.head - skipped + self._epoch, self._shape.steps * self._shape.rows)
        # In a resumed epoch the Trainer takes the batches that were trained on and throws them away: they are only
        # counted here, so that resuming costs nothing and needs no weights of the past.
        for _ in range(skipped):
            yield 0
        for rows in self._steps:
            yield from rows.tolist()

    def _draw(self) -> NDArray[np.int64] | None:
        if self.head >= self._end:
            return None
        with self._clock("sampling"):
            rows = self._balancer.mixture.fill(self.head, self._shape.rows)
        self.head += len(rows)
        return rows

    def batches(self) -> list[list[list[int]]]:
        """See `Batcher`."""
        self._batches = self._batches or self._shape.unpacked(self._steps.oldest.tolist())
        return self._batches

    def finish_step(self) -> NDArray[np.int64]:
        """See `Batcher`."""
        rows = self._steps.finish()
        self._batches = []
        self.done = {"head": self.done["head"] + len(rows)}
        return rows


class PackedBatcher(BatchSampler):  # Axolotl tells batches from rows by this type
    """The packed batches of one epoch, for `DataLoader(batch_sampler=...)`; ranks and epochs are as in `RowBatcher`."""

    drop_last = True  # no batch is ever incomplete; accelerate asks

    def __init__(
        self,
        shape: StepShape,
        bins: Bins,
        balancer: Balancer,
        cells: Cells,
        clock: Clock,
        done: dict[str, Any] | None,
    ) -> None:
        """Draw nothing yet.

        Args:
            shape: of a step.
            bins: of the shape.
            balancer: whose stream is packed.
            cells: the layout of the training set; an epoch is as many batches as its tokens fill, in whole steps.
            clock: for the time that drawing and packing take.
            done: where the packer stood; None at its beginning.
        """
        self._shape = shape
        self._balancer = balancer
        self._clock = clock
        self._epoch = math.ceil(int(cells.lengths.sum()) / shape.capacity) * shape.batches
        self.batch_size = bins.bins_per_batch
        self._bins = PackedBatchSampler(balancer.mixture, cells.lengths, capacity=bins.capacity, window=bins.window)
        self._steps = StepsAhead(self._draw, shape.ahead)
        self._left = 0  # batches of the epoch
        if done:
            self._bins.load_state_dict(done)
        self.done = self._bins.state_dict()

    @property
    def head(self) -> int:
        """See `Batcher`."""
        return self._bins.head

    def __len__(self) -> int:
        return self._epoch

    def __iter__(self) -> Iterator[list[list[int]]]:  # type: ignore[override]  # torch knows rows only
        self._bins.mixture = self._balancer.mixture
        self._bins.load_state_dict(self.done)
        self._steps.clear()
        batches = self._bins.given // self.batch_size
        skipped = batches % self._epoch
        for _ in range(skipped):  # trained on, and thrown away by a resumed Trainer
            yield [[0]] * self.batch_size
        self._left = min(batches - skipped + self._epoch, self._shape.steps * self._shape.batches) - batches
        for step, _ in self._steps:
            yield from step

    def _draw(self) -> tuple[list[list[list[int]]], dict[str, Any]] | None:
        if self._left <= 0:
            return None
        self._left -= self._shape.batches
        with self._clock("sampling"):
            step = [list(islice(self._bins, self.batch_size)) for _ in range(self._shape.batches)]
            return step, self._bins.state_dict()

    def batches(self) -> list[list[list[int]]]:
        """See `Batcher`."""
        return self._steps.oldest[0]

    def finish_step(self) -> NDArray[np.int64]:
        """See `Batcher`; the rows of a batch come bin after bin, as their segments follow each other."""
        step, self.done = self._steps.finish()
        return np.fromiter(chain.from_iterable(bin_ for batch in step for bin_ in batch), np.int64)
