"""The actors: each is a distribution over arms that learns from one reward an arm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hbo_plugin.methods.base import (
    check_factor,
    check_setting,
    check_share,
    check_smoothing,
    filled,
    from_json,
    moving_average,
    softmax,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Where rewards are magnitudes, zero and below count as the least, so that every logarithm and ratio exists.
_LEAST = 1e-100

# Adam's learning rate is that of HBO's paper (appendix A), its number of steps that of its code; the rest is usual.
STEPS, LEARNING_RATE = 200, 1e-4
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Actor(Protocol):
    """A distribution that learns; built from its prior, float64[arms]."""

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        ...

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Learn from float64[arms]: at most 1e100 in magnitude, or NaN where not measured; at least one arm was."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `update` changes, as plain JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        ...


class ClosedForm:
    """A damped step towards `prior * average^strength`, in closed form; `Hbo` has the formula and its reasons.

    Args:
        prior: float64[arms], all above 0, sums to 1.
        rate: above 0, at most 1; the share of the way to the target, in logits, that one update goes.
        floor: 0 to 1; the share of the weights that always follows the prior.
        smoothing: at least 0, below 1; the share of the old average that an average keeps when a reward comes in.
        strength: 0 or more; the power to which a reward counts. 0 rests at the prior.

    Raises ValueError for anything else.
    """

    def __init__(
        self,
        prior: NDArray[np.float64],
        *,
        rate: float,
        floor: float,
        smoothing: float,
        strength: float,
    ) -> None:
        check_setting("rate", rate, "above 0 and at most 1", lambda share: 0 < share <= 1)
        check_share("floor", floor)
        check_smoothing(smoothing)
        check_factor("strength", strength)
        self._prior = prior
        self._rate, self._floor = rate, floor
        self._smoothing, self._strength = smoothing, strength
        self._weights = prior
        self._average = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Take the rewards into the averages and step to the target; zero and below count as the least reward."""
        self._average = moving_average(self._average, np.maximum(rewards, _LEAST), self._smoothing)
        reward = filled(self._average)
        # In logarithms a product is a sum and no power can overflow; softmax does both normalisations at once.
        target = np.log(self._prior) + self._strength * np.log(reward / reward.max())
        moved = softmax((1 - self._rate) * np.log(self._weights) + self._rate * target)
        self._weights = (1 - self._floor) * moved + self._floor * self._prior

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the averages; None for an arm that was never measured."""
        return {"weights": to_json(self._weights), "average": to_json(self._average)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._prior.size
        self._weights = from_json(state, "weights", arms)
        self._average = from_json(state, "average", arms, unmeasured=True)


class AdamActor:
    """The published actor of HBO, MoS, MultiDDS and MultiUAT: one logit an arm, 200 Adam steps an update.

    The steps go down `-sum_k r_k log softmax(logits)_k`, whose only resting place is `softmax(logits) = r / sum(r)`.

    Args:
        prior: float64[arms], all above 0, sums to 1; where the logits start.
        relative: divide the rewards by their mean over the arms first, as HBO's code does for local ones.
        smoothing: at least 0, below 1; the share of the old average that a reward's average keeps.
    """

    def __init__(self, prior: NDArray[np.float64], *, relative: bool = False, smoothing: float = 0.0) -> None:
        check_smoothing(smoothing)
        self._relative = relative
        self._smoothing = smoothing
        self._logits = np.log(prior)
        self._first_moment = np.zeros(prior.size)
        self._second_moment = np.zeros(prior.size)
        self._step = 0
        self._rewards = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return softmax(self._logits)

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Do 200 Adam steps; zero and below count as the least reward, NaN stands for the last one of that arm."""
        self._rewards = moving_average(self._rewards, np.maximum(rewards, _LEAST), self._smoothing)
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


class Exponentiated:
    """Weights that every update multiplies: the actor of DoReMi, of Sheared-LLaMA and of PiKE.

        weights = (1 - floor) * normalise(weights * exp(step * reward)) + floor / arms

    Nothing pulls back to the prior: while the rewards of two arms differ, their odds go on moving, up to the floor.
    An arm that is not measured keeps its last reward; one that never was counts as the mean of those that were.

    Args:
        prior: float64[arms], all above 0, sums to 1; where the weights start.
        step: 0 or more; what a reward of 1 adds to the logarithm of a weight.
        floor: 0 to 1; the share of the weights that is uniform.

    Raises ValueError for anything else.
    """

    def __init__(self, prior: NDArray[np.float64], *, step: float, floor: float) -> None:
        check_factor("step", step)
        check_share("floor", floor)
        self._step, self._floor = step, floor
        self._weights = prior
        self._rewards = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Multiply the weights by the exponentials of the rewards, which may be below 0."""
        self._rewards = moving_average(self._rewards, rewards, smoothing=0)
        moved = softmax(np.log(self._weights) + self._step * filled(self._rewards))
        self._weights = (1 - self._floor) * moved + self._floor / moved.size

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the last rewards; None for an arm that was never measured."""
        return {"weights": to_json(self._weights), "rewards": to_json(self._rewards)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._weights.size
        self._weights = from_json(state, "weights", arms)
        self._rewards = from_json(state, "rewards", arms, unmeasured=True)


CORRECTIONS = ("rate", "floor", "strength")
"""Settings that `ClosedForm` has and the published actor has not."""


def corrected_or_published(
    *, reference: bool, rate: float, floor: float, smoothing: float, strength: float
) -> Callable[[NDArray[np.float64]], Actor]:
    """Return what builds a `ClosedForm` with these settings or, for `reference`, an `AdamActor` with `smoothing`."""
    if reference:
        return partial(AdamActor, smoothing=smoothing)
    return partial(ClosedForm, rate=rate, floor=floor, smoothing=smoothing, strength=strength)
