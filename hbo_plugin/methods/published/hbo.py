"""HBO as published: other defaults and another actor. For comparison with the paper, not for use."""

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.hbo import REWARD, AnySignal, CellSignal, Reward
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.adam import AdamActor, Fit

FIT = Fit(logit=1.0, learning_rate=1e-4, error=1e-10)
"""That of the code of HBO, and of the code of MoS."""


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PublishedReward(Reward):
    """The signals that the published code measures."""

    global_: AnySignal = Field(default="row_gradient_norm", alias="global")
    local: CellSignal = "mean_perplexity_ratio"


@dataclass(frozen=True, kw_only=True)
class PublishedHboSettings:
    """The settings of `hbo` with `published: true`.

    One update is 200 Adam steps on `-sum_k r_k log softmax(logits)_k`, whose only resting place is
    `softmax(logits) = r / sum(r)`. Adam divides the scale of `r` out again, so an update moves a logit by about
    200 * 1e-4 = 0.02: with the paper's 200 training steps between updates, most runs end near their prior.

    The global actor first fits its logits to the prior, as the code does; of this its paper does not speak. That
    leaves Adam past its first steps, and the first update goes some three times as far. Its rewards are those of the code:
    a mean over rows of the norm of one row's gradient, and a mean of ratios over other rows at each update.

    What differs: the arithmetic is float64; an actor waits until each of its arms was measured once; and the code asks
    for the update of the local actors at each micro-batch of a step that is due, so that with gradient accumulation
    they learn several times from one measurement, and here once. Its norms come to half, which Adam does not see.

    Source: HBO (arXiv 2505.12300), Algorithm 1 and its public code.
    """

    update_every: ClassVar[int] = 200
    """The paper's optimizer steps between two updates, which become the run's default."""

    prior: Prior = "proportional"
    reward: Annotated[PublishedReward, Field(description=REWARD)] = PublishedReward()

    def global_actor(self, prior: NDArray[np.float64]) -> AdamActor:
        """Build the actor over datasets from its prior, float64[datasets]."""
        return AdamActor(prior, fit=FIT)

    def local_actor(self, prior: NDArray[np.float64]) -> AdamActor:
        """Build the actors over the levels of datasets from their priors, float64[datasets, levels with rows]."""
        return AdamActor(prior, relative=True)
