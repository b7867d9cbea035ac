"""Packed batches of the stream: how rows of unequal length share a batch of fixed size."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin._sampler import MixtureSampler, Packer
from hbo_plugin.rank_share import STATE_VERSION, RankShare, check_settings, count_of

WINDOW = 64
"""Rows that can wait for a bin that they fill: `python -m hbo_plugin.bench packing` shows what more and fewer fill."""


class PackedBatchSampler(RankShare[list[int]]):
    """Batches of row numbers of one rank, for `DataLoader(batch_sampler=...)`: a pure function of stream and lengths.

    A batch is a bin: as many rows as its tokens can hold, which are to follow each other in one sequence. Every draw of
    the stream is in exactly one bin, at most `window` bins after its draw, and mostly in the same or the next. A bin is
    filled when it is asked for, together with those of the other ranks in its turn, and no row before it is needed:
    weights that are put in force at `head` act on all rows drawn for the next.

    Memory is O(window * capacity / 8) bytes, beside the lengths.
    """

    # accelerate asks for both: batches are of any number of rows, and none is ever incomplete.
    batch_size = None
    drop_last = True

    def __init__(
        self,
        mixture: MixtureSampler,
        lengths: NDArray[np.int32],
        *,
        capacity: int,
        per_epoch: int | None = None,
        window: int = WINDOW,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Start at position 0, and draw nothing yet.

        Args:
            mixture: the stream.
            lengths: tokens of every row, int32[rows], from 1 to `capacity`; shared, not copied.
            capacity: tokens that a bin can hold, from 1 to 2^20.
            per_epoch: batches of this rank after which iterating ends, to go on from there when it begins again; None
                for no end.
            window: rows that can wait, from 1 to 2^10. More fill bins better where few rows fill one, and new
                weights act later.
            rank: whose share to take, from 0 to `ranks` - 1.
            ranks: how many ranks share the stream, up to 2^16.

        Raises:
            ValueError: a value out of bounds, lengths of another shape or type, or a row that no bin can hold.
        """
        super().__init__(mixture, per_epoch, rank, ranks)
        self._settings = {"version": STATE_VERSION, "capacity": capacity, "window": window}
        self._packer = Packer(mixture, lengths, capacity=capacity, bins_per_batch=ranks, window=window)

    @property
    def head(self) -> int:
        """See `RankShare.head`."""
        return self._packer.head

    @property
    def waiting(self) -> int:
        """Rows that were drawn and are in no batch yet: what is still to come under weights before those of `head`."""
        return len(self._packer.waiting)

    def take(self) -> list[int]:
        """See `RankShare.take`."""
        bins = self._packer.batch(self.mixture)
        self.given += self.ranks
        return bins[self.rank]

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, JSON-safe and the same on every rank; the mixture's state is apart.

        Takes microseconds: one a batch is cheap.
        """
        return {**self._settings, "bins": self.given, "head": self._packer.head, "waiting": self._packer.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the sampler stood that the state is from, over the same mixture; `ranks` may differ.

        Raises:
            ValueError: a state of other settings, or one that no sampler has.
        """
        check_settings(state, self._settings)
        bins = count_of(state, "bins")
        self._packer.seek(state)
        self.given = bins
