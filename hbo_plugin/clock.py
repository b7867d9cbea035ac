"""The clock: what hbo costs a run, by what it does."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Seconds of wall time spent on sampling, signals, updates and logging, and on waiting for the next batch."""

    def __init__(self, settle: Callable[[], None] = lambda: None) -> None:
        """Nothing was spent yet; `settle` waits until the device has done all that it was given."""
        self._settle = settle
        self.now = time.perf_counter  # a benchmark on a busy machine counts time of the processor
        self.seconds = dict.fromkeys(("sampling", "loading", "signals", "update", "logging"), 0.0)

    @contextmanager
    def __call__(self, part: str, *, settled: bool = False) -> Iterator[None]:
        """Add what the block takes, but for what blocks inside it add themselves.

        Args:
            part: what hbo does in it.
            settled: whether the block gives the device work and waits for it. The device then first does what the
                training gave it, which would count here, and in the end what the block did.
        """
        if settled:
            self._settle()
        start, before = self.now(), self.total
        try:
            yield
            if settled:
                self._settle()
        finally:
            self.seconds[part] += self.now() - start - (self.total - before)

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.seconds.values())
