"""MoS: one actor over the datasets, rewarded by similarity or by how little a dataset was learned so far."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import ClosedFormSettings
from hbo_plugin.methods.parameters import EmaDecay, Exponent
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.adam import AdamSettings, Fit
from hbo_plugin.methods.published.hbo import FIT
from hbo_plugin.methods.single import Single

Reward = Annotated[
    Literal["similarity", "difference"],
    Field(description="What rewards a dataset: its `similarity` to all, or how little was learned (`difference`)."),
]


@dataclass(frozen=True, kw_only=True)
class MosSettings(ClosedFormSettings):
    """The settings of `mos`."""

    difference: ClassVar[str] = "perplexity_ratio"
    """The signal of that reward."""

    reward: Reward = "difference"
    prior: Prior = "uniform"
    ema_decay: EmaDecay = 0.1
    exponent: Exponent = 1.0


@dataclass(frozen=True, kw_only=True)
class PublishedMosSettings(AdamSettings):
    """The settings of `mos` with `published: true`."""

    fit: ClassVar[Fit] = FIT
    first_average: ClassVar[float] = 1.0
    difference: ClassVar[str] = "mean_perplexity_ratio"

    reward: Reward = "difference"
    prior: Prior = "uniform"
    ema_decay: EmaDecay = 0.1


class Mos(Single):
    """Datasets by the moving average of their reward; the levels of each in proportion to their rows.

        similarity:  r_i = (1/N) sum_n cos(z_i, z_n), z the mean hidden state of a dataset, itself among the n
        difference:  r_i = mean of perplexity now / perplexity at the start
        average     <- 0.9 r + 0.1 average

    The paper's third reward is that average of either; `ema_decay: 0` switches it off. It updates the actor with
    200 Adam steps on `-sum_i r_i log p_i`, which rest at `r / sum(r)`. Here the actor is `ClosedForm`, which with the
    published uniform prior, an `exponent` of 1 and no floor rests at the same place, in a few updates; and the mean
    over rows of the ratios is geometric, of the same rows at each update.

    With `published: true`, the actor is the published one, the average starts at 1 as in the code, and the mean is
    arithmetic, of other rows at each update. It is still that of the answer's perplexity, where the code takes the
    whole row's; and the mean over levels is weighted with their rows.

    Source: Mixture-of-Skills (arXiv 2406.08811) and its public code.
    """

    Settings: ClassVar[type] = MosSettings
    _settings: MosSettings | PublishedMosSettings

    @property
    def signals(self) -> tuple[str, ...]:
        """The signal of the chosen reward."""
        return ("similarity" if self._settings.reward == "similarity" else self._settings.difference,)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signal, float64[datasets]."""
        return self._of_datasets(signals, self.signals[0])
