"""The actors: each is a distribution over arms that learns from one reward an arm."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import filled, moving_average, softmax
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay, Exponent, PriorFloor, StepSize
from hbo_plugin.methods.prior import TEMPERATURE, Prior
from hbo_plugin.methods.state import from_json, to_json

# Where rewards are magnitudes, zero and below count as this, so that every logarithm and ratio exists.
SMALLEST_REWARD = 1e-100


class Actor(Protocol):
    """A distribution that learns; built from its prior, float64[arms].

    Some actors take more axes before that of the arms. Those are of distributions that learn apart.
    """

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


class ActorSettings(Protocol):
    """Settings of a method with one actor: they say what it starts from, and build it."""

    @property
    def prior(self) -> str | float | Mapping[str, float]:
        """What the actor starts from, as a user writes it."""
        ...

    def actor(self, prior: NDArray[np.float64], run: RunFacts, /) -> Actor:
        """Build the actor from its prior, float64[arms]."""
        ...


@dataclass(frozen=True, kw_only=True)
class ClosedFormSettings:
    """The settings of methods whose actors are `ClosedForm`; the defaults are those of `hbo`."""

    prior: Prior = TEMPERATURE
    step_size: StepSize = 0.5
    floor: PriorFloor = 0.05
    ema_decay: EmaDecay = 0.5
    exponent: Exponent = 0.5

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "ClosedForm":
        """Build the actor from its prior, float64[arms]."""
        return ClosedForm(prior, self)


class ClosedForm:
    """A damped step towards `prior * average^exponent`, in closed form; `Hbo` has the formula and its reasons.

    Takes the prior, float64[..., arms], all above 0, which sums to 1, and the settings; and the smallest reward, as
    which all below it count. A leading axis is one of actors that learn apart.
    """

    def __init__(
        self, prior: NDArray[np.float64], settings: ClosedFormSettings, *, smallest: float = SMALLEST_REWARD
    ) -> None:
        self._prior, self._settings, self._smallest = prior, settings, smallest
        self._weights = prior
        self._average = np.full(prior.shape, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[..., arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Average the rewards and step towards the goal, float64[..., arms]; an actor without a new one stays."""
        settings = self._settings
        self._average = moving_average(self._average, np.maximum(rewards, self._smallest), settings.ema_decay)
        measured = ~np.isnan(rewards).all(axis=-1)
        reward, prior = filled(self._average[measured]), self._prior[measured]
        # In logarithms a product is a sum and no power can overflow; softmax does both normalisations at once.
        goal = np.log(prior) + settings.exponent * np.log(reward / reward.max(axis=-1, keepdims=True))
        moved = softmax((1 - settings.step_size) * np.log(self._weights[measured]) + settings.step_size * goal)
        self._weights = self._weights.copy()
        self._weights[measured] = (1 - settings.floor) * moved + settings.floor * prior

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the averages; None for an arm that was never measured."""
        return {"weights": to_json(self._weights), "average": to_json(self._average)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._prior.shape
        self._weights = from_json(state, "weights", arms)
        self._average = from_json(state, "average", arms, unmeasured=True)
