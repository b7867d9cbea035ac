"""ODM: online data mixing, weights in proportion to the smoothed exponential of the loss, beside exploration."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import moving_average
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, to_json

# exp(200) is finite, and no model's loss comes near.
_LARGEST_LOSS = 200.0


@dataclass(frozen=True, kw_only=True)
class OdmSettings:
    """The settings of `odm`."""

    prior: Prior = "proportional"
    ema_decay: EmaDecay = 0.9

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "SmoothedMean":
        """Build the actor from its prior, float64[arms]."""
        return SmoothedMean(prior, ema_decay=self.ema_decay, update_every=run.update_every)


class Odm(Single):
    """Datasets by the moving average of exp(loss), beside exploration that wears off; levels follow their rows.

        estimate <- ema_decay * estimate + (1 - ema_decay) * exp(loss), from 0
        e_t       = min(1/N, sqrt(ln N / (N t)))
        weight    = (1 - N e_t) estimate / sum(estimate) + e_t

    with t the optimizer steps made. A dataset that was not measured keeps its estimate; before its first measurement
    it has only e_t. The steps before the first update are the warm-up, with the weights of the prior.

    This is what the repository calls the paper's method, for steps on several datasets. Two things differ. It
    updates at every step after 2,000, and here an update comes every `update_every` steps, with the mean loss since
    the last one: the average forgets as many times slower. And it has two other rules: Exp3, which sums losses over
    weights, so that the first update can put nearly all weight on a dataset that had little; and one for steps on a
    single dataset, which has an exponential of the loss in an exponential.

    Source: Online Data Mixing (arXiv 2312.02406), as its public code has it.
    """

    Settings: ClassVar[type] = OdmSettings
    signals = ("loss",)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the exponentials of the losses, float64[datasets]."""
        return np.exp(np.clip(self._of_datasets(signals, "loss"), 0, _LARGEST_LOSS))


class SmoothedMean:
    """The actor with the update of `Odm`.

    Args:
        prior: float64[arms], all above 0, sums to 1; the weights until the first update.
        ema_decay: at least 0, below 1; what an estimate keeps of itself.
        update_every: optimizer steps between two updates.
    """

    def __init__(self, prior: NDArray[np.float64], *, ema_decay: float, update_every: int) -> None:
        self._ema_decay, self._update_every = ema_decay, update_every
        self._weights = prior
        self._estimates = np.zeros(prior.size)
        self._steps = 0

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Average float64[arms] of rewards, all above 0, into the estimates; NaN leaves one as it is."""
        self._steps += self._update_every
        self._estimates = moving_average(self._estimates, rewards, self._ema_decay)
        arms = self._estimates.size
        exploration = min(1 / arms, float(np.sqrt(np.log(arms) / (arms * self._steps))))
        self._weights = (1 - arms * exploration) * self._estimates / self._estimates.sum() + exploration

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, the estimates and the number of steps."""
        return {"weights": to_json(self._weights), "estimates": to_json(self._estimates), "steps": [self._steps]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._weights.size
        self._weights = from_json(state, "weights", arms)
        self._estimates = from_json(state, "estimates", arms)
        self._steps = int(from_json(state, "steps", 1)[0])
