"""The published actor of HBO, MoS, MultiDDS and MultiUAT: one logit an arm, 200 Adam steps an update."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import SMALLEST_REWARD
from hbo_plugin.methods.arithmetic import moving_average, softmax
from hbo_plugin.methods.parameters import EmaDecay, Temperature
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.state import from_json, to_json

# The learning rate is that of HBO's paper (appendix A), the number of steps that of its code; the rest is usual.
STEPS, LEARNING_RATE = 200, 1e-4
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """The settings of methods whose actor is `AdamActor`."""

    temperature: Temperature = 1.0
    ema_decay: EmaDecay = 0.0

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "AdamActor":
        """Build the actor from its prior, float64[arms]."""
        return AdamActor(prior, ema_decay=self.ema_decay)


class AdamActor:
    """Adam on `-sum_k r_k log softmax(logits)_k`, which only rests at `softmax(logits) = r / sum(r)`.

    Args:
        prior: float64[arms], all above 0, sums to 1; where the logits start.
        relative: divide the rewards by their mean over the arms first, as HBO's code does for local ones.
        ema_decay: at least 0, below 1; the share of the old average that a reward's average keeps.
    """

    def __init__(self, prior: NDArray[np.float64], *, relative: bool = False, ema_decay: float = 0.0) -> None:
        self._relative = relative
        self._ema_decay = ema_decay
        self._logits = np.log(prior)
        self._first_moment = np.zeros(prior.size)
        self._second_moment = np.zeros(prior.size)
        self._step = 0
        self._rewards = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return softmax(self._logits)

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Do 200 Adam steps, once every arm was measured; NaN stands for the last reward of that arm.

        Zero and below count as the smallest reward.
        """
        self._rewards = moving_average(self._rewards, np.maximum(rewards, SMALLEST_REWARD), self._ema_decay)
        if np.isnan(self._rewards).any():
            return
        reward = self._rewards / self._rewards.mean() if self._relative else self._rewards
        for _ in range(STEPS):
            gradient = self.weights() * reward.sum() - reward
            self._step += 1
            self._first_moment = BETA_1 * self._first_moment + (1 - BETA_1) * gradient
            self._second_moment = BETA_2 * self._second_moment + (1 - BETA_2) * gradient**2
            mean = self._first_moment / (1 - BETA_1**self._step)
            scale = np.sqrt(self._second_moment / (1 - BETA_2**self._step))
            self._logits = self._logits - LEARNING_RATE * mean / (scale + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """Return the logits, Adam's moments and step, and the last rewards; None for one never measured."""
        return {
            "logits": to_json(self._logits),
            "first_moment": to_json(self._first_moment),
            "second_moment": to_json(self._second_moment),
            "step": [self._step],
            "rewards": to_json(self._rewards),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._logits.size
        self._logits = from_json(state, "logits", arms)
        self._first_moment = from_json(state, "first_moment", arms)
        self._second_moment = from_json(state, "second_moment", arms)
        self._step = int(from_json(state, "step", 1)[0])
        self._rewards = from_json(state, "rewards", arms, unmeasured=True)
