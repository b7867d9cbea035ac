"""DynamixSFT: datasets whose loss a step still lowers, anchored to their proportions."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import filled, moving_average, softmax
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay, Factor, UniformFloor
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, to_json


@dataclass(frozen=True, kw_only=True)
class DynamixSettings:
    """The settings of `dynamix`."""

    prior: Prior = "proportional"
    ema_decay: EmaDecay = 0.95
    exponent: Annotated[
        Factor,
        Field(
            description="What a reward of 1 adds to the logarithm of a weight. "
            "Published: 5 for a model of 8B parameters, 4 for one of 1B."
        ),
    ] = 5.0
    floor: UniformFloor = 0.3

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "Tilted":
        """Build the actor from its prior, float64[arms]."""
        return Tilted(prior, self)


class Dynamix(Single):
    """Datasets by how much a virtual step on them lowers their loss; levels in proportion to their rows.

        r      = the look-ahead drop, min-max normalised over the datasets
        value <- ema_decay * value + (1 - ema_decay) * r, from 0
        weight = (1 - floor) * normalise(prior * exp(exponent * value)) + floor / N

    The paper writes alpha, beta and gamma for `ema_decay`, `exponent` and `floor`, and updates every 50 steps.
    Where all datasets measured drop by the same, or only one was measured, r is 1/2: none of them stands out. One
    that was not measured keeps its value; before its first measurement it has the mean of the others' values, so that
    it neither gains nor loses by being passed over.

    Source: DynamixSFT (arXiv 2508.12116).
    """

    Settings: ClassVar[type] = DynamixSettings
    signals = ("look_ahead",)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the normalised drops, float64[datasets], each 0 to 1."""
        drops = self._of_datasets(signals, "look_ahead")
        if np.isnan(drops).all():
            return drops
        smallest, largest = np.nanmin(drops), np.nanmax(drops)
        return (
            (drops - smallest) / (largest - smallest) if largest > smallest else np.where(np.isnan(drops), np.nan, 0.5)
        )


class Tilted:
    """The actor with the update of `Dynamix`; its prior is float64[arms]."""

    def __init__(self, prior: NDArray[np.float64], settings: DynamixSettings) -> None:
        self._prior, self._settings = prior, settings
        self._values = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        tilted = softmax(np.log(self._prior) + self._settings.exponent * self._known())
        return (1 - self._settings.floor) * tilted + self._settings.floor / tilted.size

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Average float64[arms] of rewards into the values."""
        averaged = moving_average(self._known(), rewards, self._settings.ema_decay)
        self._values = np.where(np.isnan(rewards), self._values, averaged)

    def _known(self) -> NDArray[np.float64]:
        """The values, 0 before the first measurement of any."""
        return np.zeros(self._values.size) if np.isnan(self._values).all() else filled(self._values)

    def state_dict(self) -> dict[str, Any]:
        """Return the values; None for an arm that was never measured."""
        return {"values": to_json(self._values)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._values = from_json(state, "values", self._values.size, unmeasured=True)
