"""DWM: a small network learns, while the model trains, which rows serve the target, and weighs every row by that."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.parameters import Moment, step_of
from hbo_plugin.methods.state import from_json, to_json
from hbo_plugin.row_weights.base import LearnsFromInfluence, SeenRows
from hbo_plugin.row_weights.network import NETWORK_FILE, Network

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hbo_plugin.methods.base import RunFacts

FEATURES = ("loss", "entropy", "log_tokens", "level")
"""What the network sees of a row, in this order."""

_RATE = 0.02
"""Share of the newest step in a running mean; while there are so few steps that an even share is larger, that share."""
_LEAST_SPREAD = 0.01
"""Least standard deviation that a feature is divided by, so that the rounding of one that never differs is no feature."""


@dataclass(frozen=True, kw_only=True)
class DwmSettings:
    """The settings of `row_weights: dwm`."""

    path: Annotated[
        str | None, Field(description="The file of a network that an earlier run has finished; it learns no more.")
    ] = None
    refresh_every: Annotated[
        int, Field(ge=1, description="Optimizer steps from one refresh, in which the network learns, to the next.")
    ] = 40
    start: Annotated[
        Moment,
        Field(
            description="The step after which the network first learns; until then all rows weigh 1. Below 1 a share of the run."
        ),
    ] = 0.05
    stages: Annotated[
        int | None,
        Field(
            ge=1,
            description="Rows are weighed by the network as it was when the last of so many equal stages of the run began, "
            "as published; unset, by the network as it is.",
        ),
    ] = None
    passes: Annotated[int, Field(ge=1, description="Steps of the network in a refresh.")] = 2
    learning_rate: Annotated[float, Field(gt=0, le=1, description="Of the network's Adam.")] = 0.005
    l2: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="How strongly scores are held near 0, a weight of 1.")
    ] = 0.1
    lowest: Annotated[float, Field(gt=0, le=1, description="The lowest weight of a row.")] = 0.2
    highest: Annotated[float, Field(ge=1, allow_inf_nan=False, description="The highest weight of a row.")] = 2.0


class Dwm(LearnsFromInfluence):
    """Rows weigh what a small network makes of their loss, entropy, length and level; it learns from their influence.

    The odds of a row are `exp(score)`, within the bounds of weights, and its weight is `odds / Z`, within them too. Z is the
    running mean of the odds over the tokens of steps, so that tokens weigh 1 on average, whatever rows share a micro-batch.
    Features are standardised by running means over the rows of steps. A row without finite ones weighs 1 and teaches nothing.

    In a refresh the network climbs `mean(odds / Z * influence) - l2 / 2 * mean(score ** 2)` over the rows of a step. Z is the
    mean over their own tokens there, and influence is divided by its mean magnitude.

    Source: Dynamic Data Weighting (DWM, arXiv 2507.16178). From the paper: a small network weighs the rows of a batch; it
    learns from the loss on held-out rows, one weighted step of the model ahead; it is frozen in stages (`stages: 5`); and
    a finished one serves other models. Ours: the features, the network, the running mean that weights are divided by, the
    bounds and `l2`, the influence in place of a step that is made and differentiated through, and refreshes every
    `refresh_every` steps that act at once. The paper published no code, and its numbers were not reproduced.

    Args:
        run: its seed is that of the network.
        settings: of the block.
        steps: optimizer steps of the run.
        levels: difficulty levels of the run.

    Raises ValueError where the run ends before `start`, or `path` is no file of a network with these features.
    """

    Settings: ClassVar[type] = DwmSettings

    def __init__(self, run: RunFacts, settings: DwmSettings, steps: int, levels: int) -> None:
        self._settings, self._steps, self._levels = settings, steps, levels
        self._start = step_of(settings.start, steps)
        if self._start >= steps:
            message = (
                f"`hbo.row_weights.dwm.start: {settings.start:g}` was given, but the run has {steps} steps, so that all rows "
                "would weigh 1; lower it, or train longer."
            )
            raise ValueError(message)
        network = Network(FEATURES, run.seed)
        if settings.path is not None:
            network.load(settings.path)
        self._learner = _Odds(network, settings)
        self._in_force = self._learner if settings.stages is None else deepcopy(self._learner)
        self._step = self._stage = 0
        self._means = np.zeros((2, len(FEATURES)))
        """Running means of the features and of their squares, float64[2, features]."""
        self._followed = 0
        """Steps that they are of."""

    def begin_step(self, step: int, rows: NDArray[np.int64]) -> None:
        """Put the network in force as it is, where a stage begins."""
        self._step = step
        stages = self._settings.stages
        if stages is not None and (stage := min(step * stages // self._steps, stages - 1)) != self._stage:
            self._stage = stage
            self._in_force = deepcopy(self._learner)

    def weights(self, rows: SeenRows) -> NDArray[np.float64]:
        """Return the weight of each row, float64[rows], 1 or from `lowest` to `highest`."""
        features, known = self._features(rows)
        found = np.ones(len(known))
        if self._step >= self._start and self._followed:
            found[known] = self._in_force.weights(self._standardised(features[known]))
        return found

    def end_step(self, step: int, rows: SeenRows, weights: NDArray[np.float64]) -> None:
        """Let the running means follow the rows of the step."""
        features, known = self._features(rows)
        if not known.any():
            return
        self._followed += 1
        rate = max(_RATE, 1 / self._followed)
        features = features[known]
        self._means += rate * (np.stack([features.mean(axis=0), (features**2).mean(axis=0)]) - self._means)
        for odds in {self._learner, self._in_force}:
            odds.follow(self._standardised(features), rows.tokens[known], rate)

    def refreshes(self, step: int) -> bool:
        """Whether the network learns from this step."""
        since = step - self._start
        return self._settings.path is None and since >= 0 and since % self._settings.refresh_every == 0

    def refresh(self, rows: SeenRows, influence: NDArray[np.float64]) -> None:
        """Let the network learn from the rows whose influence is finite; without any, it stays as it is."""
        features, known = self._features(rows)
        known &= np.isfinite(influence)
        size = np.abs(influence[known]).sum() / max(1, known.sum())
        if not size or not self._followed:
            return
        self._learner.learn(self._standardised(features[known]), rows.tokens[known], influence[known] / size)

    def save(self, folder: Path) -> None:
        """Write the network that learned, for runs that give its file as `path`; their running means start anew."""
        if self._settings.path is None:
            self._learner.network.save(folder / NETWORK_FILE)

    def state_dict(self) -> dict[str, Any]:
        """Return the networks, and what the running means are, as plain JSON values."""
        return {
            "learner": self._learner.state_dict(),
            "in_force": self._in_force.state_dict(),
            "stage": [self._stage],
            "means": to_json(self._means),
            "followed": [self._followed],
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit, or `path` has another network now."""
        given = self._learner.network.state_dict()
        self._learner.load_state_dict(state.get("learner", {}))
        if self._settings.path is not None and given != self._learner.network.state_dict():
            message = (
                f"the network in `{self._settings.path}` is not that of the checkpoint; restore the file, or start afresh "
                "in another `output_dir`."
            )
            raise ValueError(message)
        self._in_force.load_state_dict(state.get("in_force", {}))
        self._stage = int(from_json(state, "stage", 1)[0])
        self._means = from_json(state, "means", self._means.shape)
        self._followed = int(from_json(state, "followed", 1)[0])

    def _features(self, rows: SeenRows) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return float64[rows, features], and which rows have all of them, bool[rows]."""
        with np.errstate(divide="ignore"):  # a row without an answer lacks other features too
            log_tokens = np.log(rows.tokens)
        found = np.stack([rows.loss, rows.entropy, log_tokens, rows.level / max(1, self._levels - 1)], axis=1)
        return found, np.isfinite(found).all(axis=1)

    def _standardised(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, square = self._means
        spread = np.sqrt(np.maximum(square - mean**2, _LEAST_SPREAD**2))
        return np.asarray((features - mean) / spread)


class _Odds:
    """The odds that a network gives to rows, and their running mean.

    In its methods, `x` are the standardised features of rows, float64[rows, features], and `tokens` theirs, int64[rows].
    """

    def __init__(self, network: Network, settings: DwmSettings) -> None:
        self.network, self._settings = network, settings
        self._lowest, self._highest = np.log([settings.lowest, settings.highest])
        self._mean = 1.0

    def weights(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the weight of each row, float64[rows]."""
        return np.clip(self._of(x) / self._mean, self._settings.lowest, self._settings.highest)

    def follow(self, x: NDArray[np.float64], tokens: NDArray[np.int64], rate: float) -> None:
        """Let the running mean follow rows."""
        self._mean += rate * (self._mean_of(x, tokens) - self._mean)

    def learn(self, x: NDArray[np.float64], tokens: NDArray[np.int64], gain: NDArray[np.float64]) -> None:
        """Take some steps up the mean of `weight * gain - l2 / 2 * score ** 2` over rows; `gain` is float64[rows]."""
        settings, share, before = self._settings, tokens / tokens.sum(), self._mean_of(x, tokens)
        for _ in range(settings.passes):
            score, weights = self.network.score(x), self._of(x) / self._mean_of(x, tokens)
            moves = (score > self._lowest) & (score < self._highest)  # beyond, a weight stays at its bound
            dscore = moves * weights * (gain - share * (weights @ gain)) - settings.l2 * score
            self.network.climb(self.network.gradient(x, dscore / len(x)), settings.learning_rate)
        self._mean *= self._mean_of(x, tokens) / before  # the mean moves with the network, not many steps after it

    def state_dict(self) -> dict[str, Any]:
        """Return the network and the mean."""
        return {**self.network.state_dict(), "mean": [self._mean]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self.network.load_state_dict(state)
        self._mean = float(from_json(state, "mean", 1)[0])

    def _of(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(np.clip(self.network.score(x), self._lowest, self._highest))

    def _mean_of(self, x: NDArray[np.float64], tokens: NDArray[np.int64]) -> float:
        return float(np.average(self._of(x), weights=tokens))
