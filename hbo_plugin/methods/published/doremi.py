"""DoReMi's rule, online: datasets whose loss stands highest above that of the initial model."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.methods.actors import Exponentiated
from hbo_plugin.methods.signals import by_dataset, read_signal
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# The logarithm of a ratio needs one above 0.
_LEAST_RATIO = 1e-100


class DoReMi(Single):
    """Datasets by the exponential of their excess loss, summed over updates; levels in proportion to their rows.

        excess  = loss now - loss of the initial model = log(perplexity ratio)
        weight <- (1 - floor) * normalise(weight * exp(step * excess)) + floor / N

    The paper trains a reference model and then a small proxy with this rule, and uses the average of the proxy's
    weights for a third training. In one fine-tuning the reference is the initial model and the weights act at once.

    The paper clips the excess of every token at 0. Fine-tuning starts at the reference, so that nearly all of its
    excess is below 0 and clipped weights would stay where they start. So the excess is not clipped: the softmax
    sees only differences, and what gains weight is what improved least, as the min-max idea wants. `clip: true`
    clips a dataset's mean. Nothing pulls back, so lasting differences end in one dataset with all but the floor:
    a long run with many updates may want a smaller `step`.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        step: 0 or more; what a nat adds to the logarithm of a weight, the paper's eta.
        floor: 0 to 1; the share of the weights that is uniform, the paper's c.
        clip: count an excess below 0 as 0.
        temperature: above 0; the first weights are rows^(1/temperature), published as uniform.

    Raises ValueError for anything else. Source: DoReMi (arXiv 2305.10429), Algorithm 1.
    """

    signals = ("perplexity_ratio",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        step: float = 1.0,
        floor: float = 1e-3,
        clip: bool = False,
        temperature: float = inf,
    ) -> None:
        super().__init__(rows, temperature, partial(Exponentiated, step=step, floor=floor))
        self._clip = clip

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the excess losses, float64[datasets], in nats."""
        ratio = read_signal(signals, "perplexity_ratio", self._rows.shape)
        excess = by_dataset(np.log(np.maximum(ratio, _LEAST_RATIO)), self._rows)
        return np.maximum(excess, 0) if self._clip else excess
