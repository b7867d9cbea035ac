"""The torch-shaped face of the stream: rows or packed batches for a DataLoader, and which of them were trained on."""

from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from hbo_plugin.clock import Clock
from hbo_plugin.packing import PackedBatchSampler
from hbo_plugin.training.balancer import Balancer


class Sampler(Protocol):
    """What a run asks of either sampler. Neither has a `set_epoch`: where an epoch begins follows from the training."""

    @property
    def head(self) -> int:
        """Position of the next draw. New weights take force here."""
        ...

    def lines(self, batch: int) -> list[list[int]]:
        """The rows in each line of the model's input, of the so manieth micro-batch of the oldest step not taken yet."""
        ...

    def take(self) -> NDArray[np.int64]:
        """The rows of the oldest optimizer step that were drawn and not taken yet, int64[rows]."""
        ...


class StreamSampler:
    """The rows of one epoch, in the order of the stream, for `DataLoader(sampler=...)`.

    Every rank iterates the whole stream, and accelerate hands each its share of the batches. An epoch is a whole number
    of optimizer steps, so that none ends in a partial accumulation.
    """

    def __init__(
        self,
        balancer: Balancer,
        clock: Clock,
        *,
        micro_batch: int,
        rows_per_step: int,
        rows_per_epoch: int,
        rows_per_run: int,
    ) -> None:
        """Draw nothing yet.

        Args:
            balancer: whose stream is drawn from; it also knows how much of the stream was trained on.
            clock: for the time that drawing takes.
            micro_batch: rows that the loader takes at once.
            rows_per_step: rows of an optimizer step on all ranks, a multiple of `micro_batch`.
            rows_per_epoch: length of an epoch in rows, a multiple of `rows_per_step`.
            rows_per_run: after which nothing is drawn: the Trainer, resumed at its end, would make one step more.
        """
        self._balancer = balancer
        self._clock = clock
        self._micro_batch = micro_batch
        self._rows_per_step = rows_per_step
        self._rows_per_epoch = rows_per_epoch
        self._rows_per_run = rows_per_run
        self._drawn: deque[NDArray[np.int64]] = deque()
        self.head = 0

    def __len__(self) -> int:
        return self._rows_per_epoch

    def __iter__(self) -> Iterator[int]:
        self.head = self._balancer.trained
        self._drawn.clear()
        skipped = self.head % self._rows_per_epoch
        end = min(self.head - skipped + self._rows_per_epoch, self._rows_per_run)
        # In a resumed epoch the Trainer takes the batches that were trained on and throws them away: they are only
        # counted here, so that resuming costs nothing and needs no weights of the past.
        for _ in range(skipped):
            yield 0
        while self.head < end:
            # A whole step and no more: where new weights take force must not depend on how the step is shared out
            # over ranks and micro-batches, of which the loader takes some ahead.
            with self._clock("sampling"):
                rows = self._balancer.mixture.fill(self.head, self._rows_per_step)
            self.head += len(rows)
            self._drawn.append(rows)
            yield from rows.tolist()

    def lines(self, batch: int) -> list[list[int]]:
        """See `Sampler`."""
        first = batch * self._micro_batch
        return [[row] for row in self._drawn[0][first : first + self._micro_batch].tolist()]

    def take(self) -> NDArray[np.int64]:
        """See `Sampler`."""
        return self._drawn.popleft()


class PackedStreamSampler(BatchSampler):  # Axolotl tells batches from rows by this type
    """The packed batches of one epoch, for `DataLoader(batch_sampler=...)`; ranks and epochs are as in `StreamSampler`."""

    def __init__(
        self,
        balancer: Balancer,
        clock: Clock,
        batches: PackedBatchSampler,
        *,
        batches_per_step: int,
        batches_per_run: int,
    ) -> None:
        """Draw nothing yet.

        Args:
            balancer: whose stream is packed; it also keeps where the packer stood after what was trained on.
            clock: for the time that drawing and packing take.
            batches: of that stream, in epochs of a multiple of `batches_per_step`.
            batches_per_step: batches of an optimizer step on all ranks.
            batches_per_run: see `rows_per_run` of `StreamSampler`.
        """
        self._balancer = balancer
        self._clock = clock
        self._batches = batches
        self._batches_per_step = batches_per_step
        self._batches_per_run = batches_per_run
        self._drawn: deque[tuple[list[list[list[int]]], dict[str, Any]]] = deque()
        self._start = batches.state_dict()
        self.batch_size = batches.batch_size
        self.drop_last = batches.drop_last

    @property
    def head(self) -> int:
        """See `Sampler`."""
        return self._batches.head

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[list[int]]]:  # type: ignore[override]  # torch knows rows only
        self._batches.mixture = self._balancer.mixture
        self._batches.load_state_dict(self._balancer.packer or self._start)
        self._drawn.clear()
        for _ in range(self._batches.batches % len(self)):  # trained on, and thrown away by a resumed Trainer
            yield [[0]] * self.batch_size
        batches = iter(self._batches)
        while self._batches.batches < self._batches_per_run:
            with self._clock("sampling"):
                step = list(islice(batches, self._batches_per_step))
                if not step:
                    return
                self._drawn.append((step, self._batches.state_dict()))
            yield from step

    def lines(self, batch: int) -> list[list[int]]:
        """See `Sampler`."""
        return self._drawn[0][0][batch]

    def take(self) -> NDArray[np.int64]:
        """See `Sampler`; within a batch, bin after bin, as their segments follow each other."""
        step, self._balancer.packer = self._drawn.popleft()
        return np.fromiter(chain.from_iterable(bin_ for batch in step for bin_ in batch), np.int64)
