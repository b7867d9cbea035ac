"""Held-out losses: how well the model does on rows that it is not trained on, dataset by dataset."""

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.signals.context import Context, HeldOutRows
from hbo_plugin.signals.passes import pass_over
from hbo_plugin.signals.sources import SignalSource


class HeldOut(SignalSource):
    """`held_out_loss`: the mean over the tokens of a dataset's held-out rows."""

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Measure the held-out set of every dataset that has one."""
        losses = held_out_losses(self._context, self._context.steering)
        finite = {name: loss for name, loss in losses.items() if np.isfinite(loss)}
        self.dropped += len(losses) - len(finite)
        sets = (self._context.tied.get(name, "") for name in self._context.cells.names)
        return {"held_out_loss": np.array([finite.get(name, np.nan) for name in sets])}


def held_out_losses(context: Context, held_out: HeldOutRows) -> dict[str, float]:
    """Mean loss per token of each held-out set, in nats; NaN where no row has an answer."""
    if not held_out.sets:
        return {}
    lengths = held_out.lengths
    passed = pass_over(context, held_out.rows, np.arange(len(lengths)), lengths, ("loss",))
    totals = {name: (passed.sums[0, part].sum(), passed.tokens[part].sum()) for name, part in held_out.sets.items()}
    return {name: float(loss / count) if count else float("nan") for name, (loss, count) in totals.items()}
