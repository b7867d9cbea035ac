"""MoS: one actor over the datasets, rewarded by similarity or by how little a dataset was learned so far."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from hbo_plugin.methods.actors import corrected_or_published
from hbo_plugin.methods.base import check_setting
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_REWARDS = {"similarity": "similarity", "difference": "perplexity_ratio"}


class Mos(Single):
    """Datasets by the moving average of their reward; the levels of each in proportion to their rows.

        similarity:  r_i = (1/N) sum_n cos(z_i, z_n), z the mean hidden state of a dataset, itself among the n
        difference:  r_i = mean of perplexity now / perplexity at the start
        average     <- 0.9 r + 0.1 average

    The paper's third reward is that average of either; `smoothing: 0` takes it away. It updates the actor with
    200 Adam steps on `-sum_i r_i log p_i` (`AdamActor`), which rest at `r / sum(r)`. Here the actor is `ClosedForm`,
    which with the published uniform prior, a `strength` of 1 and no floor rests at the same place, in a few updates.
    The code takes the perplexity of the whole row, and the mean over rows of the ratios; here the perplexity is the
    answer's, the mean over rows geometric, and the mean over levels weighted with their rows.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        reward: `similarity` or `difference`.
        temperature: above 0; the prior is rows^(1/temperature).
        smoothing: at least 0, below 1; the share of the old average that an average keeps.
        rate: above 0, at most 1; of `ClosedForm`.
        floor: 0 to 1; of `ClosedForm`.
        strength: 0 or more; of `ClosedForm`.
        reference: take the published actor, which has no `rate`, `floor` and `strength`.

    Raises ValueError for anything else. Source: Mixture-of-Skills (arXiv 2406.08811) and its public code.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        reward: str = "difference",
        temperature: float = inf,
        smoothing: float = 0.1,
        rate: float = 0.5,
        floor: float = 0.05,
        strength: float = 1.0,
        reference: bool = False,
    ) -> None:
        check_setting("reward", reward, "`similarity` or `difference`", lambda value: value in _REWARDS)
        self.signals = (_REWARDS[reward],)
        actor = corrected_or_published(
            reference=reference, rate=rate, floor=floor, smoothing=smoothing, strength=strength
        )
        super().__init__(rows, temperature, actor)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signal, float64[datasets]."""
        return self._of_datasets(signals, self.signals[0])
