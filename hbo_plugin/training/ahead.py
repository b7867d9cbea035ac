"""Ahead: the steps that are drawn before they are made, so that a loader and its workers can prepare their batches."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AHEAD_OF_WORKERS = 2
"""Steps that are ahead of the training where a loader has workers."""

Step = TypeVar("Step")


def loader_workers(wanted: int, accumulation: int) -> dict[str, int | None]:
    """Settings under which the workers of a loader take no more batches than belong to the steps that are ahead.

    Args:
        wanted: workers.
        accumulation: micro-batches of a step on one rank.
    """
    most = AHEAD_OF_WORKERS * accumulation - 1  # accelerate takes one more
    workers = min(wanted, most)
    return {
        "dataloader_num_workers": workers,
        "dataloader_prefetch_factor": most // workers if workers else None,
    }


class StepsAhead(Generic[Step]):
    """The steps of an epoch that were drawn and not made. A loader takes one after the other, some of them ahead.

    They are drawn whole, and as many ahead whenever one was made: where new weights take force must not depend on how a
    step is shared out over ranks and micro-batches, or on when a loader takes them.
    """

    def __init__(self, draw: Callable[[], Step | None], ahead: int) -> None:
        """None is drawn yet; `draw` draws the next, or gives None where the epoch has no more."""
        self._draw, self._ahead = draw, ahead
        self._drawn: deque[Step] = deque()
        self._taken = 0  # by the loader, of those that were drawn

    def __iter__(self) -> Iterator[Step]:
        while self._taken < len(self._drawn) or self._draw_one():
            self._taken += 1
            yield self._drawn[self._taken - 1]

    def _draw_one(self) -> bool:
        step = self._draw()
        if step is not None:
            self._drawn.append(step)
        return step is not None

    def clear(self) -> None:
        """Forget what was drawn."""
        self._drawn.clear()
        self._taken = 0

    @property
    def oldest(self) -> Step:
        """The step that is being made."""
        return self._drawn[0]

    def finish(self) -> Step:
        """The oldest step was made."""
        step = self._drawn.popleft()
        self._taken -= 1
        while len(self._drawn) < self._ahead and self._draw_one():
            pass
        return step
