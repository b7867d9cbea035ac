"""MultiDDS-S: datasets whose gradients point where the held-out sets' gradients do."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import ClosedForm, ClosedFormSettings
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay, Exponent
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.adam import AdamSettings, Fit
from hbo_plugin.methods.single import Single

# Cosines of 0.04 to 0.2 are usual. Weights cannot be in proportion to what is 0 or below, and one noisy
# measurement there must not cost a dataset all but its floor.
_SMALLEST_COSINE = 0.01


@dataclass(frozen=True, kw_only=True)
class MultiDdsSettings(ClosedFormSettings):
    """The settings of `multidds`."""

    prior: Prior = "proportional"
    ema_decay: EmaDecay = 0.0
    exponent: Exponent = 1.0

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> ClosedForm:
        """Build the actor from its prior, float64[arms]."""
        return ClosedForm(prior, self, smallest=_SMALLEST_COSINE)


@dataclass(frozen=True, kw_only=True)
class PublishedMultiDdsSettings(AdamSettings):
    """The settings of `multidds` with `published: true`."""

    fit: ClassVar[Fit] = Fit(logit=0.0, learning_rate=1e-3, error=1e-6)


class MultiDds(Single):
    """Datasets by the mean cosine of their gradient with the held-out sets'; levels in proportion to their rows.

        r_n = mean over held-out sets v of cos(gradient_v, gradient_n), all at the same parameters

    This is the stabilised form. Plain MultiDDS measures the held-out gradients after a step on n; its code makes
    that step uphill. The published actor (`published: true`) takes 200 Adam steps on `-sum_n r_n log p_n`, whose
    resting place is `r / sum(r)`; here it is `ClosedForm`, which multiplies the prior instead. A cosine below 0.01
    counts as 0.01 here; the published actor takes it as it is, and pushes a dataset of negative reward down without an
    end.

    Source: MultiDDS-S (arXiv 2004.06748) and its public code.
    """

    Settings: ClassVar[type] = MultiDdsSettings
    signals = ("gradient_alignment",)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the cosines, float64[datasets]."""
        return self._of_datasets(signals, "gradient_alignment")
