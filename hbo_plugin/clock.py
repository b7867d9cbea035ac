"""The clock: what hbo costs a run, by what it does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of wall time spent on sampling, signals, updates and logging."""

    def __init__(self) -> None:
        """Nothing was spent yet."""
        self.now = time.perf_counter  # a benchmark on a busy machine counts time of the processor
        self.seconds = dict.fromkeys(("sampling", "signals", "update", "logging"), 0.0)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Add what the block takes."""
        start = self.now()
        try:
            yield
        finally:
            self.seconds[part] += self.now() - start

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.seconds.values())
