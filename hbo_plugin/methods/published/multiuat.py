"""MultiUAT: datasets of which the model is unsure."""

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
from hbo_plugin.methods.single import Single

Reward = Annotated[Literal["entropy", "loss"], Field(description="The measure of the model's uncertainty.")]


@dataclass(frozen=True, kw_only=True)
class MultiUatSettings(ClosedFormSettings):
    """The settings of `multiuat`."""

    reward: Reward = "entropy"
    prior: Prior = "proportional"
    ema_decay: EmaDecay = 0.0
    exponent: Exponent = 1.0


@dataclass(frozen=True, kw_only=True)
class PublishedMultiUatSettings(AdamSettings):
    """The settings of `multiuat` with `published: true`."""

    fit: ClassVar[Fit] = Fit(logit=1.0, learning_rate=1e-4, error=1e-8)

    reward: Reward = "entropy"


class MultiUat(Single):
    """Datasets by the model's uncertainty about them; levels in proportion to their rows.

        entropy:  r_n = mean entropy of the predictions for a token
        loss:     r_n = mean loss a token

    The paper averages over 30 passes with dropout and measures on held-out rows. The models fine-tuned here have no
    dropout, so that one pass is enough, and the rows are those of the probes. Its other measures come from the
    probability of the likeliest token and are not here; the loss is one that its code has beside them. Its update is
    printed with a minus that its code does not have: more uncertainty is more weight. The published actor takes 200 Adam
    steps on `-sum_n r_n log p_n`, whose resting place is `r / sum(r)`; here it is `ClosedForm`, which multiplies the
    prior instead. With `published: true` the actor is the published one; the rewards stay.

    Source: MultiUAT (arXiv 2109.02284) and its public code.
    """

    Settings: ClassVar[type] = MultiUatSettings
    _settings: MultiUatSettings | PublishedMultiUatSettings

    @property
    def signals(self) -> tuple[str, ...]:
        """The signal of the chosen reward."""
        return (self._settings.reward,)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signal, float64[datasets]."""
        return self._of_datasets(signals, self._settings.reward)
