"""Frontier: within each dataset, the levels whose prompts are answered now right and now wrong."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import ClosedForm, ClosedFormSettings
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.levels import LocalActors
from hbo_plugin.methods.parameters import Exponent
from hbo_plugin.methods.prior import prior_weights
from hbo_plugin.methods.reading import read_signal


@dataclass(frozen=True, kw_only=True)
class FrontierSettings(ClosedFormSettings):
    """The settings of `frontier`."""

    exponent: Exponent = 1.0


class Frontier:
    """Levels by the variance of the rewards of one prompt's answers; datasets by their prior, which holds.

    GRPO learns from the differences between the answers to a prompt. Where rewards are 0 and 1 and a share p of the answers
    is right, their variance is p (1 - p): most at one half, and 0 where all are right or all are wrong, from which nothing is
    learned. The mean over the prompts of a level is what that level has to teach now. It is not p (1 - p) of the level's own
    pass rate, which is also one half where half of its prompts are always right and the others always wrong.

    Each dataset has an actor over its levels, the `ClosedForm` of `Hbo` with another exponent. The floor keeps prompts of
    every level coming, so that a level is found again when the model has grown into it.

    Source: this project. The shape is that of SEC (arXiv 2505.14970) and DUMP (arXiv 2504.09710), which choose by the mean
    absolute advantage; p (1 - p) is the score of VCRL (arXiv 2509.19803).
    """

    Settings: ClassVar[type] = FrontierSettings
    signals = ("reward_variance",)

    def __init__(self, rows: NDArray[np.int64], settings: FrontierSettings, run: RunFacts) -> None:
        self._datasets = prior_weights(settings.prior, rows.sum(axis=1), run.names)
        self._cells = rows.shape
        self._local = LocalActors(rows, lambda prior: ClosedForm(prior, settings))

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        return self._local.weights() * self._datasets[:, None]

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Update the levels; ValueError where the signal is missing or has the wrong shape."""
        self._local.update(read_signal(signals, "reward_variance", self._cells))

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the local actors."""
        return {"local": self._local.state()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._local.load(state.get("local"))
