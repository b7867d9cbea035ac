"""The static mixture: weights that nothing measured changes, all run long or in phases."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.messages import yaml_text
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import Shares, in_order, step_of
from hbo_plugin.methods.prior import TEMPERATURE, Prior, normalised, prior_weights
from hbo_plugin.methods.state import from_json

_UNTIL = "until"


class Fixed:
    """The frame of methods that learn nothing: weights of cells, float64[datasets, levels]."""

    signals: ClassVar[tuple[str, ...]] = ()
    _weights: NDArray[np.float64]

    def weights(self) -> NDArray[np.float64]:
        """Return the weights: float64[datasets, levels]."""
        return self._weights.copy()

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Change nothing."""


@dataclass(frozen=True, kw_only=True)
class StaticSettings:
    """The settings of `static`."""

    prior: Prior = TEMPERATURE
    weights: Annotated[
        Shares | list[Shares] | None,
        Field(
            description="Shares that hold for the whole run: a number for each dataset by its name, 0 to leave it out. Or a "
            "list of such blocks for phases of the run, each but the last with `until`: the step where it ends, or "
            "below 1 a share of the run. Implies `method: static`."
        ),
    ] = None

    def __post_init__(self) -> None:
        """Raise a ValueError for phases that cannot follow each other."""
        if not isinstance(self.weights, list):
            return
        *first, last = self.weights or [{}]
        if not last or _UNTIL in last or not all(_UNTIL in phase for phase in first):
            message = (
                f"`hbo.weights: {yaml_text(self.weights)}` was given, but each phase needs the weights of its datasets, and "
                f"each but the last needs `until`, where it ends; add or remove it."
            )
            raise ValueError(message)

    @property
    def phases(self) -> list[tuple[Shares, float | None]]:
        """What `weights` gives in each phase, and where it ends, None for the last; empty where it is not set."""
        if not isinstance(self.weights, list):
            return [(self.weights, None)] if self.weights else []
        return [({name: phase[name] for name in phase if name != _UNTIL}, phase.get(_UNTIL)) for phase in self.weights]


class Static(Fixed):
    """Datasets at their prior for the whole run, or at the `weights` that a user writes down; levels follow their rows.

    `prior: proportional` is what Axolotl does without hbo. `prior: uniform` under `max_epochs` is T5's
    examples-proportional mixing (arXiv 1910.10683, section 3.5.2), with a limit that the cap sets.

    Source: HBO (arXiv 2505.12300), q_tau; or what a user writes down.
    """

    Settings: ClassVar[type] = StaticSettings

    def __init__(self, rows: NDArray[np.int64], settings: StaticSettings, run: RunFacts) -> None:
        in_rows, phases = rows.sum(axis=1), settings.phases
        self._ends = [end for _, end in phases[:-1] if end is not None]
        datasets = [normalised(in_order("weights", shares, run.names)) for shares, _ in phases] or [
            prior_weights(settings.prior, in_rows, run.names)
        ]
        self._of_phase = [(shares / in_rows)[:, None] * rows for shares in datasets]
        self._go_to(0)

    def _go_to(self, phase: int) -> None:
        self._phase, self._weights = phase, self._of_phase[phase]

    def advance(self, step: int, steps: int) -> int:
        """Take the weights of the phase that step `step` of `steps` is followed by; return the step at which it ends.

        Raises ValueError where a phase has no step in a run of this length.
        """
        ends = [0, *(step_of(end, steps) for end in self._ends), steps]
        for index, (first, end) in enumerate(pairwise(ends)):
            if first >= end:
                given = yaml_text(self._ends[min(index, len(self._ends) - 1)])
                message = (
                    f"`hbo.weights` has a phase `until: {given}`, but in a run of {steps} steps the phases end at "
                    f"`{ends[1:]}`, so that number {index + 1} has no step; change `until`."
                )
                raise ValueError(message)
        self._go_to(sum(step >= end for end in ends[1:-1]))
        return ends[self._phase + 1]

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the phase; the weights follow from the settings."""
        return {"phase": [self._phase]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue in the phase that was saved, where there is one of that number; ValueError for another method's state."""
        self._go_to(min(int(from_json(state, "phase", 1)[0]), len(self._of_phase) - 1))
