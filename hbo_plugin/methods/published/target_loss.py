"""Sheared-LLaMA's rule: datasets whose held-out loss is farthest above a target."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.methods.actors import Exponentiated
from hbo_plugin.methods.base import by_name, check_rows
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class TargetLoss(Single):
    """Datasets by the exponential of held-out loss minus target, summed over updates; levels follow their rows.

        weight <- (1 - floor) * normalise(weight * exp(step * (loss - target))) + floor / N

    The paper predicts targets from the losses of larger models; in fine-tuning, the loss that a dataset reaches when
    trained on alone is one. The paper clips the difference at 0 and its code does not; the published results are
    the code's, so here `clip` is off: a dataset below its target gives weight away.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        names: the datasets' names, in order.
        targets: the target of each name, in nats a token of its held-out rows.
        step: 0 or more; what a nat adds to the logarithm of a weight, the paper's eta.
        floor: 0 to 1; the share of the weights that is uniform, the code's c.
        clip: count a difference below 0 as 0.
        temperature: above 0; the first weights are rows^(1/temperature), the proportions by default.

    Raises ValueError for anything else. Source: Sheared-LLaMA (arXiv 2310.06694), dynamic batch loading, and its public code.
    """

    signals = ("held_out_loss",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        names: Sequence[str] = (),
        targets: Mapping[str, float] | None = None,
        step: float = 1.0,
        floor: float = 1e-4,
        clip: bool = False,
        temperature: float = 1.0,
    ) -> None:
        check_rows(rows)
        self._targets = by_name("targets", targets, names)
        super().__init__(rows, temperature, partial(Exponentiated, step=step, floor=floor))
        self._clip = clip

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the differences, float64[datasets], in nats."""
        excess = self._of_datasets(signals, "held_out_loss") - self._targets
        return np.maximum(excess, 0) if self._clip else excess
