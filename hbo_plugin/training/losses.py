"""The training losses of the datasets, gathered from one record of the trace to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Losses:
    """Adds up what the lines of the log say."""

    def __init__(self) -> None:
        """There was no line yet."""
        self.sums: dict[str, list[float]] = {}
        """Of each dataset the sum of its losses and their number, as plain JSON values for a checkpoint."""

    def add(self, losses: Mapping[str, float]) -> None:
        """Add those of a line, by dataset; one that was not seen is no key."""
        for name, loss in losses.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = [total + loss, count + 1]

    def take(self) -> dict[str, float]:
        """Return the mean of each dataset since the last call."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means
