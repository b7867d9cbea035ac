"""HBO, corrected: every actor steps a fixed share of the way to a target, in closed form, anchored to its prior."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import check_setting, from_json, moving_average, softmax, to_json
from hbo_plugin.methods.hierarchy import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Hbo(Hierarchy):
    """The global actor over datasets and the local actors over levels, each with the damped closed-form update.

        target  = normalise(prior * average^strength)
        weights = (1 - floor) * normalise(weights^(1 - rate) * target^rate) + floor * prior

    where `average` is the moving average of an arm's reward; an arm that was never measured counts as the mean
    of those that were.

    Why not the published update (HBO, arXiv 2505.12300): its gradient with respect to a logit is
    `weight * sum(r) - r`, so the only place where it rests is `r / sum(r)`, and 200 Adam steps at 1e-4 take 100 or
    more updates to arrive there. With `strength` 1, `floor` 0 and a uniform prior, the target above is that same
    resting place, reached in a few updates without an optimiser. But `r / sum(r)` has no memory of the prior:
    where rewards differ little it is nearly uniform over the datasets, however small some of them are, and in our
    measurements how the mixture is tempered mattered more than any adaptation on top of it. So the reward here
    multiplies the prior instead of replacing it, and a `strength` below 1 keeps a noisy reward from outvoting it.

    Only ratios of rewards count: multiplying all rewards of an actor by one number changes nothing.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the global prior is rows^(1/temperature), the local priors are uniform.
        rate: above 0, at most 1; the share of the way to the target, in logits, that one update goes.
        floor: 0 to 1; the share of the weights that always follows the prior.
        smoothing: at least 0, below 1; the share of the old average that an average keeps when a reward comes in.
        strength: 0 or more; the power to which a reward counts. 0 rests at the prior.

    Raises ValueError for anything else.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        temperature: float = 3.0,
        rate: float = 0.5,
        floor: float = 0.05,
        smoothing: float = 0.5,
        strength: float = 0.5,
    ) -> None:
        check_setting("rate", rate, "above 0 and at most 1", ok=0 < rate <= 1)
        check_setting("floor", floor, "between 0 and 1", ok=0 <= floor <= 1)
        check_setting("smoothing", smoothing, "at least 0 and below 1", ok=0 <= smoothing < 1)
        check_setting("strength", strength, "0 or more, and finite", ok=strength >= 0 and isfinite(strength))
        actor = partial(ClosedForm, rate=rate, floor=floor, smoothing=smoothing, strength=strength)
        super().__init__(rows, temperature, actor, actor)


class ClosedForm:
    """An actor with the update of `Hbo`; its prior is float64[arms], its settings are those of `Hbo`."""

    def __init__(
        self,
        prior: NDArray[np.float64],
        *,
        rate: float,
        floor: float,
        smoothing: float,
        strength: float,
    ) -> None:
        self._prior = prior
        self._rate, self._floor = rate, floor
        self._smoothing, self._strength = smoothing, strength
        self._weights = prior
        self._average = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Take float64[arms] of positive rewards, NaN where not measured, into the averages; step to the target."""
        self._average = moving_average(self._average, rewards, self._smoothing)
        reward = np.where(np.isnan(self._average), np.nanmean(self._average), self._average)
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
