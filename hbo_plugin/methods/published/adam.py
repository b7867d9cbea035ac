"""The published actor of HBO, MoS, MultiDDS and MultiUAT: one logit an arm, 200 Adam steps an update."""

from collections.abc import Mapping
from math import nan
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import SMALLEST_REWARD
from hbo_plugin.methods.arithmetic import moving_average, softmax
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.state import from_json, to_json

# The learning rate is that of HBO's paper (appendix A), the number of steps that of its code; the rest is usual.
STEPS, LEARNING_RATE = 200, 1e-4
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

# Of the fit to the prior: steps that are taken as one, which moves where it ends by 1e-5 at most; and after how many it
# is taken to end at the prior itself. The datasets of the papers need fewer, hundreds would need millions.
_STRIDE, _MOST_STEPS = 8, 100_000


class Fit(NamedTuple):
    """How the published code brings its logits to the prior: Adam on the mean square of softmax minus prior.

    Attributes:
        logit: where all logits start.
        learning_rate: of Adam.
        error: the mean square at which it ends.
    """

    logit: float
    learning_rate: float
    error: float


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """The settings of methods whose actor is `AdamActor`."""

    fit: ClassVar[Fit]
    """That of the method's code."""
    first_average: ClassVar[float] = nan
    """What the averages of the rewards start from; NaN is the first reward."""

    prior: Prior = "proportional"
    ema_decay: EmaDecay = 0.0

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "AdamActor":
        """Build the actor from its prior, float64[arms]."""
        return AdamActor(prior, fit=self.fit, ema_decay=self.ema_decay, first_average=self.first_average)


class AdamActor:
    """Adam on `-sum_k r_k log softmax(logits)_k`, which only rests at `softmax(logits) = r / sum(r)`.

    A leading axis is one of actors that learn apart.

    Args:
        prior: float64[..., arms], all above 0, sums to 1; the weights until the first update.
        fit: how the code comes to the prior. It leaves Adam past its first steps, which are the small ones, so that the
            first update goes some three times as far; None is a new Adam. For a single actor.
        relative: divide the rewards, magnitudes then, by their mean over the arms, as HBO's code does for local ones.
        ema_decay: at least 0, below 1; the share of the old average that a reward's average keeps.
        first_average: what that average starts from; NaN is the first reward.
    """

    def __init__(
        self,
        prior: NDArray[np.float64],
        *,
        fit: Fit | None = None,
        relative: bool = False,
        ema_decay: float = 0.0,
        first_average: float = nan,
    ) -> None:
        self._prior, self._fit = prior, fit
        self._relative = relative
        self._ema_decay = ema_decay
        self._logits = np.log(prior)
        self._first_moment = np.zeros(prior.shape)
        self._second_moment = np.zeros(prior.shape)
        self._step = np.zeros(prior.shape[:-1])
        self._rewards = np.full(prior.shape, first_average)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[..., arms], all above 0, sums to 1."""
        return softmax(self._logits)

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Do 200 Adam steps, once every arm was measured; NaN stands for the last reward of that arm."""
        self._rewards = moving_average(self._rewards, rewards, self._ema_decay)
        ready = ~np.isnan(rewards).all(axis=-1) & ~np.isnan(self._rewards).any(axis=-1)
        if self._fit and ready and not self._step:
            self._begin(self._fit)
        reward = self._rewards[ready]
        if self._relative:
            reward = np.maximum(reward, SMALLEST_REWARD)
            reward /= reward.mean(axis=-1, keepdims=True)
        total = reward.sum(axis=-1, keepdims=True)
        logits, first, second = self._logits[ready], self._first_moment[ready], self._second_moment[ready]
        step = self._step[ready][:, None]
        for _ in range(STEPS):
            gradient = softmax(logits) * total - reward
            step += 1
            first = BETA_1 * first + (1 - BETA_1) * gradient
            second = BETA_2 * second + (1 - BETA_2) * gradient**2
            scale = np.sqrt(second / (1 - BETA_2**step))
            logits = logits - LEARNING_RATE * first / (1 - BETA_1**step) / (scale + EPSILON)
        self._logits[ready], self._first_moment[ready], self._second_moment[ready] = logits, first, second
        self._step[ready] = step[:, 0]

    def _begin(self, fit: Fit) -> None:
        """Fit the logits to the prior, and keep the Adam that did it."""
        logits = np.full(self._prior.size, fit.logit)
        moments, gradients = np.zeros((2, 2, self._prior.size))  # of the first and the second power
        self._step[...] = _MOST_STEPS
        step, stride = 0, 1  # a prior that fits at once gets a single step
        # In place and without `softmax`, for thousands of steps on a few numbers: logits stay within 20 of each other.
        while step < _MOST_STEPS:
            weights = np.exp(logits)
            weights /= weights.sum()
            gap = weights - self._prior
            error = gap @ gap / gap.size
            gap -= weights @ gap
            gap *= weights
            np.multiply(gap, 2 / gap.size, out=gradients[0])
            np.square(gradients[0], out=gradients[1])
            step += stride
            kept = np.array([[BETA_1], [BETA_2]]) ** stride
            moments *= kept
            gradients *= 1 - kept
            moments += gradients
            scale = np.sqrt(moments[1])
            scale /= (1 - BETA_2**step) ** 0.5
            scale += EPSILON
            np.divide(moments[0], scale, out=scale)
            scale *= stride * fit.learning_rate / (1 - BETA_1**step)
            logits -= scale
            if error <= fit.error:
                self._logits, self._first_moment, self._second_moment = logits, *moments
                self._step[...] = step
                return
            stride = _STRIDE

    def state_dict(self) -> dict[str, Any]:
        """Return the logits, Adam's moments and step, and the averages; None for one never measured."""
        return {
            "logits": to_json(self._logits),
            "first_moment": to_json(self._first_moment),
            "second_moment": to_json(self._second_moment),
            "step": to_json(self._step),
            "rewards": to_json(self._rewards),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._logits.shape
        self._logits = from_json(state, "logits", arms)
        self._first_moment = from_json(state, "first_moment", arms)
        self._second_moment = from_json(state, "second_moment", arms)
        self._step = from_json(state, "step", arms[:-1])
        self._rewards = from_json(state, "rewards", arms, unmeasured=True)
