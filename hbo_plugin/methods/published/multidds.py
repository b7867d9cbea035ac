"""MultiDDS-S: datasets whose gradients point where the held-out sets' gradients do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.methods.actors import corrected_or_published
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Cosines of 0.04 to 0.2 are usual. Weights cannot be in proportion to what is 0 or below, and one noisy
# measurement there must not cost a dataset all but its floor.
_LEAST_COSINE = 0.01


class MultiDds(Single):
    """Datasets by the mean cosine of their gradient with the held-out sets'; levels in proportion to their rows.

        r_n = mean over held-out sets v of cos(gradient_v, gradient_n), all at the same parameters

    This is the stabilised form. Plain MultiDDS measures the held-out gradients after a step on n; its code takes
    that step uphill. The published actor takes 200 Adam steps on `-sum_n r_n log p_n` (`AdamActor`), whose resting
    place is `r / sum(r)`; here it is `ClosedForm`, which multiplies the prior instead. A cosine below 0.01 counts as
    0.01, with either actor: the published one pushes a dataset of negative reward down without an end.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the prior is rows^(1/temperature).
        rate: above 0, at most 1; of `ClosedForm`.
        floor: 0 to 1; of `ClosedForm`.
        smoothing: at least 0, below 1; the share of the old average that an average keeps, published as none.
        strength: 0 or more; of `ClosedForm`.
        reference: take the published actor, which has no `rate`, `floor` and `strength`.

    Raises ValueError for anything else. Source: MultiDDS-S (arXiv 2004.06748) and its public code.
    """

    signals = ("gradient_alignment",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        temperature: float = 1.0,
        rate: float = 0.5,
        floor: float = 0.05,
        smoothing: float = 0.0,
        strength: float = 1.0,
        reference: bool = False,
    ) -> None:
        actor = corrected_or_published(
            reference=reference, rate=rate, floor=floor, smoothing=smoothing, strength=strength
        )
        super().__init__(rows, temperature, actor)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the cosines, float64[datasets], at least 0.01."""
        return np.maximum(self._of_datasets(signals, "gradient_alignment"), _LEAST_COSINE)
