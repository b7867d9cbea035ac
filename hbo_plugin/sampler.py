"""The torch-shaped face of the stream: an iterable of rows for a DataLoader."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.balancer import Balancer


class StreamSampler:
    """The rows of one epoch, in the order of the stream, for `DataLoader(sampler=...)`.

    Every rank iterates the whole stream, and accelerate hands each its share of the batches. An epoch is a whole number
    of optimizer steps, so that none ends in a partial accumulation. Deliberately without `set_epoch`: where an epoch
    begins follows from what was trained on.
    """

    def __init__(self, balancer: Balancer, *, micro_batch: int, rows_per_epoch: int) -> None:
        """Draw nothing yet.

        Args:
            balancer: whose stream is drawn from; it also knows how much of the stream was trained on.
            micro_batch: rows that the loader takes at once; `rows_per_epoch` is a multiple of it.
            rows_per_epoch: length of an epoch in rows.
        """
        self._balancer = balancer
        self._micro_batch = micro_batch
        self._rows_per_epoch = rows_per_epoch
        self._drawn: deque[NDArray[np.int64]] = deque()
        self.head = 0
        """Position of the next draw. New weights take force here."""

    def __len__(self) -> int:
        return self._rows_per_epoch

    def __iter__(self) -> Iterator[int]:
        self.head = self._balancer.trained
        self._drawn.clear()
        skipped = self.head % self._rows_per_epoch
        end = self.head - skipped + self._rows_per_epoch
        # In a resumed epoch the Trainer takes the batches that were trained on and throws them away: they are only
        # counted here, so that resuming costs nothing and needs no weights of the past.
        for _ in range(skipped):
            yield 0
        while self.head < end:
            # No more than the loader takes at once, or rows would be drawn under weights that are about to change.
            rows = self._balancer.mixture.fill(self.head, self._micro_batch)
            self.head += len(rows)
            self._drawn.append(rows)
            yield from rows.tolist()

    def take(self, count: int) -> NDArray[np.int64]:
        """The oldest `count` rows that were drawn and not taken yet, int64[count]; a multiple of the micro-batch."""
        return np.concatenate([self._drawn.popleft() for _ in range(count // self._micro_batch)])
