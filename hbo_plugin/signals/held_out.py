"""Held-out losses: how well the model does on rows that it is not trained on, dataset by dataset."""

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.signals.context import Context, HeldOutRows
from hbo_plugin.signals.passes import pass_over
from hbo_plugin.signals.sources import SignalSource


class HeldOut(SignalSource):
    """`held_out_loss`: the mean over the tokens of a dataset's held-out rows."""

    rows: NDArray[np.float64]
    """What `row_losses` returned when the steering rows were last measured."""

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Measure the held-out set of every dataset that has one."""
        self.rows = row_losses(self._context, self._context.steering)
        losses = _by_set(self.rows, self._context.steering)
        finite = {name: loss for name, loss in losses.items() if np.isfinite(loss)}
        self.dropped += len(losses) - len(finite)
        sets = (self._context.tied.get(name, "") for name in self._context.cells.names)
        return {name: np.array([finite.get(each, np.nan) for each in sets]) for name in self.names}


def held_out_losses(context: Context, held_out: HeldOutRows) -> dict[str, float]:
    """Mean loss per token of each held-out set, in nats; NaN where no row has an answer."""
    return _by_set(row_losses(context, held_out), held_out) if held_out.sets else {}


def row_losses(context: Context, held_out: HeldOutRows) -> NDArray[np.float64]:
    """Of each held-out row the sum of its losses, in nats, and the number of its answer's tokens; float64[2, rows]."""
    lengths = held_out.lengths
    passed = pass_over(context, held_out.rows, np.arange(len(lengths)), lengths, ("loss",))
    return np.stack([passed.sums[0], passed.tokens])


def _by_set(rows: NDArray[np.float64], held_out: HeldOutRows) -> dict[str, float]:
    totals = {name: rows[:, part].sum(axis=1) for name, part in held_out.sets.items()}
    return {name: float(loss / count) if count else float("nan") for name, (loss, count) in totals.items()}
