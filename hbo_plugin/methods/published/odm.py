"""ODM: online data mixing, a bandit (Exp3) whose arms are the datasets and whose reward is the loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import softmax
from hbo_plugin.methods.parameters import Temperature
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, to_json

# The code divides the loss by this, which brings a reward near to Exp3's 0 to 1.
_LOSS_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class OdmSettings:
    """The settings of `odm`."""

    temperature: Temperature = 1.0

    def actor(self, prior: NDArray[np.float64]) -> "Exp3":
        """Build the actor from its prior, float64[arms]."""
        return Exp3(prior)


class Odm(Single):
    """Datasets by their summed losses, each over the weight under which it was measured; levels follow their rows.

        total_i <- total_i + (loss_i / 10) / weight_i
        e_t      = min(1/N, sqrt(ln N / (N t))), e_0 = 1/N
        weight   = (1 - N e_t) softmax(e_(t-1) total) + e_t

    t counts updates. As published, exploration is so strong that the first N ln N updates are uniform, and wears off
    later. The paper updates at every step after a warm-up of some thousands, and only the dataset that a step
    trained on; here an update comes every so many steps, rewards every dataset that was measured, and the steps
    before the first are the warm-up. The code's form with a plain sum is taken, not the moving average of other
    descriptions, and the softmax subtracts its maximum first, without which the growing sums overflow.

    Source: Online Data Mixing (arXiv 2312.02406) and its public code.
    """

    Settings: ClassVar[type] = OdmSettings
    signals = ("loss",)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the losses over 10, float64[datasets]."""
        return self._of_datasets(signals, "loss") / _LOSS_SCALE


class Exp3:
    """The actor with the update of `Odm`; its prior is float64[arms]."""

    def __init__(self, prior: NDArray[np.float64]) -> None:
        self._weights = prior
        self._totals = np.zeros(prior.size)
        self._updates = 0

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Add float64[arms] of rewards to the totals, NaN as none."""
        self._totals = self._totals + np.where(np.isnan(rewards), 0, rewards) / self._weights
        odds = softmax(self._exploration() * self._totals)
        self._updates += 1
        exploration = self._exploration()
        self._weights = (1 - odds.size * exploration) * odds + exploration

    def _exploration(self) -> float:
        """The smallest weight of an arm: 1/N before the first update; 0 for a single arm."""
        arms = self._weights.size
        return min(1 / arms, float(np.sqrt(np.log(arms) / (arms * self._updates)))) if self._updates else 1 / arms

    def state_dict(self) -> dict[str, Any]:
        """Return the weights, the totals and the number of updates."""
        return {"weights": to_json(self._weights), "totals": to_json(self._totals), "updates": [self._updates]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._weights.size
        self._weights = from_json(state, "weights", arms)
        self._totals = from_json(state, "totals", arms)
        self._updates = int(from_json(state, "updates", 1)[0])
