"""The costs: what hbo takes of a run's time, by its parts, as scalars and as a file.

They are no part of the trace: a run that is repeated or resumed has the same trace, and never the same times.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hbo_plugin.trace import COSTS_FILE, JsonLines

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hbo_plugin.clock import Clock


class Costs:
    """Knows how long the run has trained, before it was resumed too."""

    def __init__(self, folder: Path, clock: Clock, *, writes: bool) -> None:
        """Write nothing yet.

        Args:
            folder: output folder of the run.
            clock: what hbo costs.
            writes: whether this rank writes the file.
        """
        self._file, self._clock, self._writes = JsonLines(folder / COSTS_FILE), clock, writes
        self._elapsed = 0.0
        self._started = time.perf_counter()

    def begin(self, step: int) -> None:
        """The training begins at a step: 0, or that of the checkpoint."""
        self._started = time.perf_counter()
        if self._writes:
            self._file.begin(step)

    def tell(self, step: int) -> None:
        """Write what it came to so far."""
        if self._writes:
            self._file.append({"step": step, "elapsed": self._total_seconds(), "seconds": self._clock.seconds})

    def scalars(self) -> dict[str, float]:
        """All of it, in seconds and as a share."""
        total = self._clock.total
        return {"hbo/overhead/seconds": total, "hbo/overhead/share": total / max(1e-9, self._total_seconds())}

    def _total_seconds(self) -> float:
        return self._elapsed + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run counts on from, as plain JSON values."""
        return {"elapsed": self._total_seconds(), "overhead": self._clock.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._elapsed = state["elapsed"]
        self._clock.seconds = state["overhead"]
