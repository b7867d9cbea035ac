"""Packed batches of the stream: how rows of unequal length share a batch of fixed size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin._sampler import MixtureSampler, Packer

STATE_VERSION = 1
WINDOW = 64
"""Rows that can wait for a bin that they fill: `python -m hbo_plugin.bench packing` shows what more and fewer fill."""


class PackedBatchSampler:
    """Batches of bins of row numbers, for `DataLoader(batch_sampler=...)`: a pure function of stream and lengths.

    Every draw of the stream is in exactly one bin, at most `window` bins after its draw, and mostly in the same or
    the next. A batch is drawn when it is asked for, and no row before it is needed: weights that are put in force at
    `head` after a batch act on all rows drawn for the next.

    Memory is O(window * capacity / 8) bytes, beside the lengths.
    """

    drop_last = True  # no batch is ever incomplete; accelerate asks

    def __init__(
        self,
        mixture: MixtureSampler,
        lengths: NDArray[np.int32],
        *,
        capacity: int,
        bins_per_batch: int = 1,
        batches_per_epoch: int | None = None,
        window: int = WINDOW,
    ) -> None:
        """Start at position 0, and draw nothing yet.

        Args:
            mixture: the stream.
            lengths: tokens of every row, int32[rows], from 1 to `capacity`; shared, not copied. With
                `excess_length_strategy: drop` or `truncate`, Axolotl leaves no row longer than `sequence_len`.
            capacity: tokens that a bin can hold, from 1 to 2^20. `micro_batch_size * sequence_len` with one bin a batch,
                or `sequence_len` with `micro_batch_size` bins, for attention that cannot tell packed rows apart.
            bins_per_batch: from 1 to 2^16.
            batches_per_epoch: after which iterating ends, to go on from there when it begins again; None for no end.
            window: rows that can wait, from 1 to 2^10. More fill bins better where few rows fill one, and new
                weights act later.

        Raises:
            ValueError: a value out of bounds, lengths of another shape or type, or a row that no bin can hold.
        """
        if batches_per_epoch is not None and batches_per_epoch < 1:
            msg = (
                f"`batches_per_epoch` is `{batches_per_epoch}`, and an epoch has at least 1 batch; "
                f"give such a number, or None for an epoch without an end."
            )
            raise ValueError(msg)
        self.mixture = mixture
        """The stream; one that was restored from a checkpoint may be put in its place."""
        self.batch_size = bins_per_batch  # by which accelerate knows a whole batch
        self.batches = 0
        """Batches given so far."""
        self._batches_per_epoch = batches_per_epoch
        self._settings = {"capacity": capacity, "bins_per_batch": bins_per_batch, "window": window}
        self._packer = Packer(mixture, lengths, **self._settings)

    @property
    def head(self) -> int:
        """Position of the next draw. New weights take force here."""
        return self._packer.head

    @property
    def waiting(self) -> int:
        """Rows that were drawn and are in no batch yet: what is still to come under weights before those of `head`."""
        return len(self._packer.waiting)

    def __len__(self) -> int:
        if self._batches_per_epoch is None:
            msg = "a sampler of packed batches has no length while `batches_per_epoch` is `None`; give it a number."
            raise TypeError(msg)
        return self._batches_per_epoch

    def __iter__(self) -> Iterator[list[list[int]]]:
        """The batches from here to the end of the epoch."""
        while True:
            batch = self._packer.batch(self.mixture)
            self.batches += 1
            last = self._batches_per_epoch is not None and self.batches % self._batches_per_epoch == 0
            yield batch
            if last:
                return

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, JSON-safe; the mixture's state is apart. Takes microseconds: one a batch is cheap."""
        return {
            "version": STATE_VERSION,
            **self._settings,
            "batches": self.batches,
            "head": self._packer.head,
            "waiting": self._packer.waiting,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the sampler stood that the state is from, over the same mixture.

        Raises:
            ValueError: a state of other settings, or one that no sampler has.
        """
        expected = {"version": STATE_VERSION, **self._settings}
        for key, value in expected.items():
            if state.get(key) != value:
                msg = (
                    f'`state["{key}"]` is `{state.get(key)}`, and here it is {value}; '
                    f"pack as the run did that wrote the state, or start afresh."
                )
                raise ValueError(msg)
        batches = state.get("batches")
        if not isinstance(batches, int) or batches < 0:
            msg = f'`state["batches"]` is `{batches}`, and it is a whole number from 0 on; give a state that `state_dict` returned.'
            raise ValueError(msg)
        self._packer.seek(state)
        self.batches = batches
