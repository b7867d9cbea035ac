"""HBO as published: one logit per arm, and 200 Adam steps an update. For comparison with the paper, not for use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import from_json, moving_average, softmax, to_json
from hbo_plugin.methods.hierarchy import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# The learning rate is the paper's (appendix A), the number of steps its code's; the rest are Adam's usual values.
STEPS, LEARNING_RATE = 200, 1e-4
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class HboReference(Hierarchy):
    """The global actor over datasets and the local actors over levels, each with the published update.

    One update is 200 Adam steps on `-sum_k r_k log softmax(logits)_k`, whose only resting place is
    `softmax(logits) = r / sum(r)`. Adam divides the scale of `r` out again, so a first update moves a logit by at
    most 200 * 1e-4 = 0.02: with the paper's 200 training steps between updates, most runs end near their prior.

    Three things differ from the published code, none of them in the update: the first logits are the logarithm of
    the prior (exact, where the code fits them by gradient descent to 1e-10, which also leaves Adam's moments with
    a history), the arithmetic is float64, and an actor waits until each of its arms was measured once.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the global prior is rows^(1/temperature), the local priors are uniform.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), Algorithm 1 and its public code.
    """

    def __init__(self, rows: NDArray[np.int64], *, temperature: float = 1.0) -> None:
        super().__init__(rows, temperature, AdamActor, partial(AdamActor, relative=True))


class AdamActor:
    """An actor with the update of `HboReference`; its prior is float64[arms].

    `relative` divides the rewards by their mean over the arms first, as the published code does for local ones.
    """

    def __init__(self, prior: NDArray[np.float64], *, relative: bool = False) -> None:
        self._relative = relative
        self._logits = np.log(prior)
        self._first_moment = np.zeros(prior.size)
        self._second_moment = np.zeros(prior.size)
        self._step = 0
        self._rewards = np.full(prior.size, np.nan)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return softmax(self._logits)

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Do 200 Adam steps on float64[arms] of positive rewards; NaN stands for the last reward of that arm."""
        self._rewards = moving_average(self._rewards, rewards, smoothing=0)
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
