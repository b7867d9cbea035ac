"""HBO, corrected: every actor steps a fixed share of the way to a target, in closed form, anchored to its prior."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hbo_plugin.methods.actors import ClosedForm
from hbo_plugin.methods.hierarchy import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
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

    Only ratios of rewards count: multiplying all rewards of an actor by one number changes nothing. Rewards are
    magnitudes: zero and below count as the least one.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the global prior is rows^(1/temperature), the local priors are uniform.
        rate: above 0, at most 1; the share of the way to the target, in logits, that one update goes.
        floor: 0 to 1; the share of the weights that always follows the prior.
        smoothing: at least 0, below 1; the share of the old average that an average keeps when a reward comes in.
        strength: 0 or more; the power to which a reward counts. 0 rests at the prior.
        reward: names the signals of the `global` and the `local` actors; `gradient_norm` and `perplexity_ratio`
            where it does not. The paper's ablation has others of both.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), Algorithm 1, corrected.
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
        reward: Mapping[str, str] | None = None,
    ) -> None:
        actor = partial(ClosedForm, rate=rate, floor=floor, smoothing=smoothing, strength=strength)
        super().__init__(rows, temperature, actor, actor, reward)
