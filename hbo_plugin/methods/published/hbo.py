"""HBO as published: one logit per arm, and 200 Adam steps an update. For comparison with the paper, not for use."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hbo_plugin.methods.actors import AdamActor
from hbo_plugin.methods.hierarchy import Hierarchy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


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
        reward: names the signals of the `global` and the `local` actors; `gradient_norm` and `perplexity_ratio`
            where it does not.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), Algorithm 1 and its public code.
    """

    def __init__(
        self, rows: NDArray[np.int64], *, temperature: float = 1.0, reward: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(rows, temperature, AdamActor, partial(AdamActor, relative=True), reward)
