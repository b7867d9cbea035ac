"""Rank share: what each rank takes of a stream, epoch by epoch, and where a loader that fetches ahead stands in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from hbo_plugin._sampler import MixtureSampler

Item = TypeVar("Item")

STATE_VERSION = 1


class RankShare(ABC, Generic[Item]):
    """One rank's share of a stream of items, which are rows or packed batches.

    Items are dealt in turns: in each, every rank takes one, in the order of the ranks. So all ranks together take the
    items of one process in the same order, and every rank has the same state.
    """

    def __init__(self, mixture: MixtureSampler, per_epoch: int | None, rank: int, ranks: int) -> None:
        """Start at position 0, and draw nothing yet; see the samplers for what is given."""
        if per_epoch is not None and per_epoch < 1:
            msg = (
                f"`per_epoch={per_epoch}` was given, but an epoch has at least 1 row or batch; "
                f"give such a number, or None for an epoch without an end."
            )
            raise ValueError(msg)
        if ranks < 1:
            msg = f"`ranks={ranks}` was given, but at least 1 rank trains; give `torch.distributed.get_world_size()`."
            raise ValueError(msg)
        if not 0 <= rank < ranks:
            msg = (
                f"`rank={rank}` was given, but with `ranks={ranks}` a rank is from 0 to {ranks - 1}; "
                f"give `torch.distributed.get_rank()` and `get_world_size()`."
            )
            raise ValueError(msg)
        self.mixture = mixture
        """The stream; one that was restored from a checkpoint may be put in its place."""
        self.given = 0
        """Items given out so far, on all ranks together."""
        self.rank = rank
        self.ranks = ranks
        self._per_epoch = per_epoch

    @property
    @abstractmethod
    def head(self) -> int:
        """Position of the next draw. New weights take force here: `sampler.mixture.reweight(sampler.head, weights)`."""

    @abstractmethod
    def take(self) -> Item:
        """Draw the items of the next turn, and return that of this rank."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the sampler stands, the same on every rank."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the sampler stood that the state is from."""

    @property
    def epoch_end(self) -> int | None:
        """So many items are given when the epoch is over that the next item belongs to; None for never."""
        if self._per_epoch is None:
            return None
        items = self._per_epoch * self.ranks
        return (self.given // items + 1) * items

    def __len__(self) -> int:
        if self._per_epoch is None:
            msg = "`per_epoch=None` was given, but a sampler without an end has no length; give a number."
            raise TypeError(msg)
        return self._per_epoch

    def __iter__(self) -> Iterator[Item]:
        """The items of this rank from here to the end of the epoch."""
        return Epoch(self)


class Epoch(Iterator[Item]):
    """The rest of an epoch.

    torchdata's StatefulDataLoader keeps the state of this beside the sampler's. Without it, a loader that was saved
    after the last batch of an epoch would not know whether that epoch was over.
    """

    def __init__(self, share: RankShare[Item]) -> None:
        self._share = share
        self._end: int | None = None  # where the epoch ends is known when it begins

    def __next__(self) -> Item:
        if self._end is None:
            self._end = self._share.epoch_end
        if self._end is not None and self._share.given >= self._end:
            raise StopIteration
        return self._share.take()

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch ends, if it has begun and ends at all."""
        return {"end": self._end}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the epoch that the state is from, once the sampler has loaded its own."""
        self._end = state["end"]


def check_settings(state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse the state of a sampler with other settings."""
    for key, value in settings.items():
        if state.get(key) != value:
            msg = (
                f'`state["{key}"]` is `{state.get(key)}`, and here it is {value}; '
                f"give what the run gave that wrote the state, or start afresh."
            )
            raise ValueError(msg)


def count_of(state: dict[str, Any], key: str) -> int:
    """Return a count that a state holds."""
    value = state.get(key)
    if not isinstance(value, int) or value < 0:
        msg = f'`state["{key}"]` is `{value}`, and it is a whole number from 0 on; give a state that `state_dict` returned.'
        raise ValueError(msg)
    return value
