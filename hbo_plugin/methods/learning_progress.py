"""Learning progress: datasets whose loss still falls, anchored to a tempered prior."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.actors import ClosedForm
from hbo_plugin.methods.base import check_share, from_json, moving_average, to_json
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_LEAST_LOSS = 1e-100


class LearningProgress(Single):
    """Datasets by how far their loss fell since the last update; levels in proportion to their rows.

        progress = max(0, (loss before - loss now) / loss before)
        reward   = (1 - shrinkage) * progress + shrinkage * its mean over the datasets

    The actor is the `ClosedForm` of `Hbo`, with the same defaults. A loss that rises is no progress, and noise makes
    one rise; the shrinkage keeps such a dataset in the race. In our simulations this tied with its own prior and
    beat proportional sampling, and it gave a dataset of pure noise less than its prior, where gradient norms gave
    more: safe rather than better. The first measurement only begins the comparison.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the prior is rows^(1/temperature).
        rate: above 0, at most 1; of `ClosedForm`.
        floor: 0 to 1; of `ClosedForm`.
        smoothing: at least 0, below 1; the share of the old average that an average keeps.
        strength: 0 or more; of `ClosedForm`.
        shrinkage: 0 to 1; the share of the mean in a reward.

    Raises ValueError for anything else. Source: this project; the signal is that of Graves et al. (arXiv 1704.03003).
    """

    signals = ("loss",)

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        temperature: float = 3.0,
        rate: float = 0.5,
        floor: float = 0.05,
        smoothing: float = 0.5,
        strength: float = 0.5,
        shrinkage: float = 0.1,
    ) -> None:
        check_share("shrinkage", shrinkage)
        actor = partial(ClosedForm, rate=rate, floor=floor, smoothing=smoothing, strength=strength)
        super().__init__(rows, temperature, actor)
        self._shrinkage = shrinkage
        self._loss = np.full(len(rows), np.nan)
        """The last loss of every dataset."""

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the shrunk progress, float64[datasets], and remember the losses."""
        loss = np.maximum(self._of_datasets(signals, "loss"), _LEAST_LOSS)
        progress: NDArray[np.float64] = np.maximum((self._loss - loss) / self._loss, 0)
        self._loss = moving_average(self._loss, loss, smoothing=0)
        if np.isnan(progress).all():
            return progress
        return np.asarray((1 - self._shrinkage) * progress + self._shrinkage * np.nanmean(progress))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the actor, and the last losses; None for a dataset that was never measured."""
        return {**super().state_dict(), "loss": to_json(self._loss)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        super().load_state_dict(state)
        self._loss = from_json(state, "loss", self._loss.size, unmeasured=True)
