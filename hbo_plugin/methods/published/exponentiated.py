"""The actor of DoReMi, of Sheared-LLaMA and of PiKE: weights that every update multiplies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.methods.arithmetic import filled, moving_average, softmax
from hbo_plugin.methods.state import from_json, to_json


class Exponentiated:
    """Weights that grow by the exponentials of their rewards.

        weights = (1 - floor) * normalise(weights * exp(step_size * reward)) + floor / arms

    Nothing pulls back to the prior: while the rewards of two arms differ, their odds go on moving, up to the floor.
    An arm that is not measured keeps its last reward; one that never was counts as the mean of those that were.

    Args:
        prior: float64[arms], all above 0, sums to 1; where the weights start.
        step_size: 0 or more; what a reward of 1 adds to the logarithm of a weight.
        floor: 0 to 1; the share of the weights that is uniform.
    """

    def __init__(self, prior: NDArray[np.float64], *, step_size: float, floor: float) -> None:
        self._step_size, self._floor = step_size, floor
        self._weights = prior
        self._rewards = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Multiply the weights by the exponentials of the rewards, which may be below 0."""
        self._rewards = moving_average(self._rewards, rewards, decay=0)
        moved = softmax(np.log(self._weights) + self._step_size * filled(self._rewards))
        self._weights = (1 - self._floor) * moved + self._floor / moved.size

    def state_dict(self) -> dict[str, Any]:
        """Return the weights and the last rewards; None for an arm that was never measured."""
        return {"weights": to_json(self._weights), "rewards": to_json(self._rewards)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._weights.size
        self._weights = from_json(state, "weights", arms)
        self._rewards = from_json(state, "rewards", arms, unmeasured=True)
