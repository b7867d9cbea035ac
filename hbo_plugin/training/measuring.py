"""Measuring: the signals of all sources at an update, and what had to be left out of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.signals.held_out import HeldOut
from hbo_plugin.training.warnings import report_nothing_finite

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hbo_plugin.history import Stop
    from hbo_plugin.signals.sources import SignalSource
    from hbo_plugin.training.overfitting import Overfitting

LOG = logging.getLogger(__name__)


class Measuring:
    """Asks the sources of a run for their signals."""

    def __init__(self, sources: Mapping[str, SignalSource], overfitting: Overfitting, *, stop_on_nan: bool) -> None:
        """Measure nothing yet.

        Args:
            sources: of the run, by name.
            overfitting: what watches the held-out losses.
            stop_on_nan: whether the run ends where nothing finite was measured.
        """
        self._sources, self.overfitting, self._stop_on_nan = sources, overfitting, stop_on_nan
        self._reported = 0  # of the measurements that were left out

    def begin(self) -> None:
        """The training begins: what was left out before is not reported again."""
        self._reported = self._dropped

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Return each signal in its shape, and warn of what was not finite; a ValueError where the run is to end for it."""
        sources = [source for source in self._sources.values() if source.names or self.overfitting.watches]
        signals = {name: values for source in sources for name, values in source.measure(step).items()}
        left_out = self._dropped > self._reported
        if left_out:
            LOG.warning(
                "hbo: %d measurements at step %d were not finite and were left out (%d in this run)",
                self._dropped - self._reported,
                step,
                self._dropped,
            )
            self._reported = self._dropped
        # A signal may also have nothing to tell, such as a transfer to held-out rows that did not gain.
        if left_out and not any(np.isfinite(values).any() for values in signals.values()):
            report_nothing_finite(step, stop=self._stop_on_nan)
        return signals

    def watch(self, step: int) -> dict[str, Stop]:
        """Measure the held-out rows alone; see `stopped`."""
        self._sources["held_out"].measure(step)
        return self.stopped(step)

    def stopped(self, step: int) -> dict[str, Stop]:
        """Return the datasets whose held-out losses, which were just measured, have risen."""
        source = self._sources.get("held_out")
        return self.overfitting.look(step, source.rows) if isinstance(source, HeldOut) else {}

    @property
    def _dropped(self) -> int:
        return sum(source.dropped for source in self._sources.values())
