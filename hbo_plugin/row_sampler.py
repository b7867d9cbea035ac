"""The rows of the stream as a torch Sampler, for `DataLoader(sampler=...)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import Sampler

from hbo_plugin.rank_share import STATE_VERSION, RankShare, check_settings, count_of

if TYPE_CHECKING:
    from hbo_plugin._sampler import MixtureSampler


class RowSampler(RankShare[int], Sampler[int]):
    """Row numbers of one rank, for `DataLoader(sampler=...)`: a pure function of the stream.

    A row is drawn when it is asked for, so weights that are put in force at `head` act from the next row on. Of `ranks`
    ranks with equal batches, each global batch is a range of the stream.
    """

    def __init__(self, mixture: MixtureSampler, *, per_epoch: int | None = None, rank: int = 0, ranks: int = 1) -> None:
        """Start at position 0, and draw nothing yet.

        Args:
            mixture: the stream. Its rows are numbered as those of a `ConcatDataset` of its cells.
            per_epoch: rows of this rank after which iterating ends, to go on from there when it begins again; None for
                no end.
            rank: whose share to take, from 0 to `ranks` - 1.
            ranks: how many ranks share the stream.

        Raises:
            ValueError: a value out of bounds.
        """
        super().__init__(mixture, per_epoch, rank, ranks)

    @property
    def head(self) -> int:
        """See `RankShare.head`."""
        return self.given

    def take(self) -> int:
        """See `RankShare.take`."""
        rows = self.mixture.fill(self.given, self.ranks)
        self.given += self.ranks
        return int(rows[self.rank])

    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, JSON-safe and the same on every rank; the mixture's state is apart."""
        return {"version": STATE_VERSION, "head": self.given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the sampler stood that the state is from, over the same mixture; `ranks` may differ.

        Raises:
            ValueError: a state that no sampler has.
        """
        check_settings(state, {"version": STATE_VERSION})
        self.given = count_of(state, "head")
