"""Learning progress: datasets whose loss still falls, anchored to a tempered prior."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import ClosedFormSettings
from hbo_plugin.methods.arithmetic import moving_average
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import Share
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, to_json

_SMALLEST_LOSS = 1e-100


@dataclass(frozen=True, kw_only=True)
class LearningProgressSettings(ClosedFormSettings):
    """The settings of `learning_progress`."""

    shrinkage: Annotated[
        Share, Field(description="Share of a dataset's reward that is the largest progress of any dataset.")
    ] = 0.1


class LearningProgress(Single):
    """Datasets by how far their loss fell since the last update; levels in proportion to their rows.

        progress = max(0, (loss before - loss now) / loss before)
        reward   = (1 - shrinkage) * progress + shrinkage * the largest progress

    The actor is the `ClosedForm` of `Hbo`, with the same defaults. A loss that rises is no progress, and noise makes
    one rise; the shrinkage keeps such a dataset in the race. It is towards the largest progress and not the mean, so
    that no reward is below `shrinkage` of another, however many datasets there are. The first measurement only begins
    the comparison.

    Source: this project; the signal is that of Graves et al. (arXiv 1704.03003).
    """

    Settings: ClassVar[type] = LearningProgressSettings
    signals = ("loss",)
    _settings: LearningProgressSettings

    def __init__(self, rows: NDArray[np.int64], settings: LearningProgressSettings, run: RunFacts) -> None:
        super().__init__(rows, settings, run)
        self._loss = np.full(len(rows), np.nan)
        """The last loss of every dataset."""

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the shrunk progress, float64[datasets], and remember the losses."""
        loss = np.maximum(self._of_datasets(signals, "loss"), _SMALLEST_LOSS)
        progress: NDArray[np.float64] = np.maximum((self._loss - loss) / self._loss, 0)
        self._loss = moving_average(self._loss, loss, decay=0)
        if np.isnan(progress).all():
            return progress
        return np.asarray((1 - self._settings.shrinkage) * progress + self._settings.shrinkage * np.nanmax(progress))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the actor, and the last losses; None for a dataset that was never measured."""
        return {**super().state_dict(), "loss": to_json(self._loss)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        super().load_state_dict(state)
        self._loss = from_json(state, "loss", self._loss.size, unmeasured=True)
