"""HBO as published: other defaults and another actor. For comparison with the paper, not for use."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.hbo import Reward, RewardSignals
from hbo_plugin.methods.parameters import Temperature
from hbo_plugin.methods.published.adam import AdamActor, Fit

FIT = Fit(logit=1.0, learning_rate=1e-4, error=1e-10)
"""That of the code of HBO, and of the code of MoS."""


@dataclass(frozen=True, kw_only=True)
class PublishedHboSettings:
    """The settings of `hbo` with `published: true`.

    One update is 200 Adam steps on `-sum_k r_k log softmax(logits)_k`, whose only resting place is
    `softmax(logits) = r / sum(r)`. Adam divides the scale of `r` out again, so a first update moves a logit by at
    most 200 * 1e-4 = 0.02: with the paper's 200 training steps between updates, most runs end near their prior.

    The global actor first fits its logits to the prior, as the code does; of this its paper does not speak. That
    leaves Adam past its first steps, and the first update goes some three times as far. The arithmetic is float64, and
    an actor waits until each of its arms was measured once.

    Source: HBO (arXiv 2505.12300), Algorithm 1 and its public code.
    """

    update_every: ClassVar[int] = 200
    """The paper's optimizer steps between two updates, which become the run's default."""

    temperature: Temperature = 1.0
    reward: RewardSignals = Reward()

    def global_actor(self, prior: NDArray[np.float64]) -> AdamActor:
        """Build the actor over datasets from its prior, float64[datasets]."""
        return AdamActor(prior, fit=FIT)

    def local_actor(self, prior: NDArray[np.float64]) -> AdamActor:
        """Build the actors over the levels of datasets from their priors, float64[datasets, levels with rows]."""
        return AdamActor(prior, relative=True)
