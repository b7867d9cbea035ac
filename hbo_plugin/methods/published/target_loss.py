"""Sheared-LLaMA's rule: datasets whose held-out loss is farthest above a goal."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import LogStep, UniformFloor, in_order
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.exponentiated import Exponentiated
from hbo_plugin.methods.single import Single


@dataclass(frozen=True, kw_only=True)
class TargetLossSettings:
    """The settings of `target_loss`."""

    goal_losses: Annotated[
        dict[str, Annotated[float, Field(allow_inf_nan=False)]],
        Field(description="The held-out loss that each dataset is meant to reach, by its name, in nats a token."),
    ]
    prior: Prior = "proportional"
    step_size: LogStep = 1.0
    floor: UniformFloor = 1e-4
    clip: Annotated[bool, Field(description="Count a distance to the goal below 0 as 0.")] = False

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> Exponentiated:
        """Build the actor from its prior, float64[arms]."""
        return Exponentiated(prior, step_size=self.step_size, floor=self.floor)


class TargetLoss(Single):
    """Datasets by the exponential of held-out loss minus goal, summed over updates; levels follow their rows.

        weight <- (1 - floor) * normalise(weight * exp(step_size * (loss - goal))) + floor / N

    The paper writes eta for `step_size`, and its code c for `floor`. The paper predicts its goals from the losses
    of larger models; in fine-tuning, the loss that a dataset reaches when trained on alone is one. The paper clips
    the difference at 0 and its code does not; the published results are the code's, so here `clip` is off: a
    dataset below its goal gives weight away.

    Source: Sheared-LLaMA (arXiv 2310.06694), dynamic batch loading, and its public code.
    """

    Settings: ClassVar[type] = TargetLossSettings
    signals = ("held_out_loss",)
    _settings: TargetLossSettings

    def __init__(self, rows: NDArray[np.int64], settings: TargetLossSettings, run: RunFacts) -> None:
        super().__init__(rows, settings, run)
        self._goals = in_order("goal_losses", settings.goal_losses, run.names)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the differences, float64[datasets], in nats."""
        excess = self._of_datasets(signals, "held_out_loss") - self._goals
        return np.maximum(excess, 0) if self._settings.clip else excess
