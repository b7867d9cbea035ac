"""MultiUAT: datasets of which the model is unsure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.methods.actors import corrected_or_published
from hbo_plugin.methods.base import check_setting
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_REWARDS = {"entropy": "entropy", "perplexity": "loss"}

# exp(200) is finite, and no model's loss comes near.
_MOST_LOSS = 200.0


class MultiUat(Single):
    """Datasets by the model's uncertainty about them; levels in proportion to their rows.

        entropy:     r_n = mean entropy of the predictions for a token
        perplexity:  r_n = exp(mean loss a token)

    The paper averages over 30 passes with dropout and measures on held-out rows. The models fine-tuned here have no
    dropout, so that one pass says it all, and the rows are those of the probes. Its other measures come from
    the probability of the likeliest token; perplexity, that of the answer's, stands for them. Its update is printed
    with a minus that its code does not have: more uncertainty is more weight. The published actor takes 200 Adam
    steps on `-sum_n r_n log p_n` (`AdamActor`), whose resting place is `r / sum(r)`; here it is `ClosedForm`, which
    multiplies the prior instead.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        reward: `entropy` or `perplexity`.
        temperature: above 0; the prior is rows^(1/temperature).
        rate: above 0, at most 1; of `ClosedForm`.
        floor: 0 to 1; of `ClosedForm`.
        smoothing: at least 0, below 1; the share of the old average that an average keeps, published as none.
        strength: 0 or more; of `ClosedForm`.
        reference: take the published actor, which has no `rate`, `floor` and `strength`.

    Raises ValueError for anything else. Source: MultiUAT (arXiv 2109.02284) and its public code.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        reward: str = "entropy",
        temperature: float = 1.0,
        rate: float = 0.5,
        floor: float = 0.05,
        smoothing: float = 0.0,
        strength: float = 1.0,
        reference: bool = False,
    ) -> None:
        check_setting("reward", reward, "`entropy` or `perplexity`", lambda value: value in _REWARDS)
        self.signals = (_REWARDS[reward],)
        actor = corrected_or_published(
            reference=reference, rate=rate, floor=floor, smoothing=smoothing, strength=strength
        )
        super().__init__(rows, temperature, actor)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the entropies or the perplexities, float64[datasets]."""
        values = self._of_datasets(signals, self.signals[0])
        return np.exp(np.minimum(values, _MOST_LOSS)) if self.signals == ("loss",) else values
