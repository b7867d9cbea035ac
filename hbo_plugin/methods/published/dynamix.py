"""DynamixSFT: datasets on which a step still takes something off the loss, anchored to their proportions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import (
    check_factor,
    check_share,
    check_smoothing,
    from_json,
    moving_average,
    softmax,
    to_json,
)
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Dynamix(Single):
    """Datasets by how much a virtual step on them takes off their loss; levels in proportion to their rows.

        r      = the look-ahead drop, min-max normalised over the datasets
        value <- smoothing * value + (1 - smoothing) * r, from 0
        weight = (1 - floor) * normalise(prior * exp(strength * value)) + floor / N

    The paper writes alpha, beta and gamma for smoothing, strength and floor, and updates every 50 steps. Where all
    datasets measured drop by the same, or only one was measured, r is 1/2: none of them stands out. One that was
    not measured keeps its value.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the prior is rows^(1/temperature), published as the original proportions.
        smoothing: at least 0, below 1; the share of the old value that a value keeps.
        strength: 0 or more; the published 5 is for a model of 8B parameters, and 4 for one of 1B.
        floor: 0 to 1; the share of the weights that is uniform.

    Raises ValueError for anything else. Source: DynamixSFT (arXiv 2508.12116).
    """

    signals = ("look_ahead",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        temperature: float = 1.0,
        smoothing: float = 0.95,
        strength: float = 5.0,
        floor: float = 0.3,
    ) -> None:
        super().__init__(rows, temperature, partial(Tilted, smoothing=smoothing, strength=strength, floor=floor))

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the normalised drops, float64[datasets], each 0 to 1."""
        drops = self._of_datasets(signals, "look_ahead")
        if np.isnan(drops).all():
            return drops
        least, most = np.nanmin(drops), np.nanmax(drops)
        return (drops - least) / (most - least) if most > least else np.where(np.isnan(drops), np.nan, 0.5)


class Tilted:
    """The actor with the update of `Dynamix`; its prior is float64[arms]."""

    def __init__(self, prior: NDArray[np.float64], *, smoothing: float, strength: float, floor: float) -> None:
        check_smoothing(smoothing)
        check_factor("strength", strength)
        check_share("floor", floor)
        self._prior = prior
        self._smoothing, self._strength, self._floor = smoothing, strength, floor
        self._values = np.zeros(prior.size)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        tilted = softmax(np.log(self._prior) + self._strength * self._values)
        return (1 - self._floor) * tilted + self._floor / tilted.size

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Take float64[arms] of rewards into the values."""
        self._values = moving_average(self._values, rewards, self._smoothing)

    def state_dict(self) -> dict[str, Any]:
        """Return the values."""
        return {"values": to_json(self._values)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._values = from_json(state, "values", self._values.size)
