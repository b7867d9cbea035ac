"""MoS+: the reward of MoS, with one flat actor over all cells; what HBO is without its hierarchy."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from hbo_plugin.methods.actors import corrected_or_published
from hbo_plugin.methods.signals import read_signal
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class MosPlus(Single):
    """Cells by the moving average of their perplexity ratio: the `difference` of `Mos`, cell by cell.

    HBO's paper names it as a baseline in one line and publishes no code for it, so the prior, the average and the
    actor are those of `Mos`: a uniform prior over the cells with rows, of which a dataset with fewer levels has
    fewer.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the prior is rows^(1/temperature) of the cells.
        smoothing: at least 0, below 1; the share of the old average that an average keeps.
        rate: above 0, at most 1; of `ClosedForm`.
        floor: 0 to 1; of `ClosedForm`.
        strength: 0 or more; of `ClosedForm`.
        reference: take the published actor, which has no `rate`, `floor` and `strength`.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), baselines.
    """

    signals = ("perplexity_ratio",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        temperature: float = inf,
        smoothing: float = 0.1,
        rate: float = 0.5,
        floor: float = 0.05,
        strength: float = 1.0,
        reference: bool = False,
    ) -> None:
        actor = corrected_or_published(
            reference=reference, rate=rate, floor=floor, smoothing=smoothing, strength=strength
        )
        super().__init__(rows, temperature, actor, flat=True)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signal of the cells with rows, float64[arms]."""
        return read_signal(signals, "perplexity_ratio", self._rows.shape)[self._live]
