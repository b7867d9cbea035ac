"""A control: the average weights of an earlier run, all run long. What beats it owes that to its timing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.history import History
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.state import from_json, to_json
from hbo_plugin.methods.static import Fixed
from hbo_plugin.trace import Trace


@dataclass(frozen=True, kw_only=True)
class ReplaySettings:
    """The settings of `replay`."""

    trace: Annotated[
        Path,
        Field(
            description="The `hbo_trace.jsonl` in the output folder of a run that has ended, "
            "with the same datasets and levels."
        ),
    ]


class Replay(Fixed):
    """Every cell at the mean of its weights in the earlier run, each weight counted by the steps it was in force.

    The weights are kept in the state, so that a resumed run does not change where the trace did.

    Source: a control for adaptivity; no paper.
    """

    Settings: ClassVar[type] = ReplaySettings

    def __init__(self, rows: NDArray[np.int64], settings: ReplaySettings, run: RunFacts) -> None:
        trace, names = settings.trace, run.names
        weights = _average(trace, run, rows.shape)
        stray = (weights > 0) != (rows > 0)
        if stray.any():
            dataset, level = np.argwhere(stray)[0]
            message = (
                f"`hbo.trace: {trace}` was given, where level {level} of dataset `{names[dataset]}` has the weight "
                f"`{weights[dataset, level]:.3g}`, but here it has {rows[dataset, level]} rows; give the trace of a "
                "run with the same data and levels."
            )
            raise ValueError(message)
        self._weights = weights / weights.sum()

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""
        return {"weights": to_json(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue with the saved weights; ValueError where they do not fit."""
        self._weights = from_json(state, "weights", self._weights.shape)


def _average(trace: Path, run: RunFacts, cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean over steps of the weights in the trace: float64[datasets, levels]."""
    names = run.names
    history = _history(trace)
    steps = [state.step for state in history.states]
    if not history.ended or steps[-1] == steps[0]:
        message = f"`hbo.trace: {trace}` was given, but that run has not ended; give the trace of a run that has."
        raise ValueError(message)
    unit = history.states[0].unit
    if unit != run.unit:
        message = (
            f"`hbo.trace: {trace}` was given, whose weights are shares of {unit}s, but here they are shares of "
            f"{run.unit}s; set `hbo.unit: {unit}`."
        )
        raise ValueError(message)
    for state in history.states[:-1]:
        found = {name: len(levels) for name, levels in state.weights.items()}
        if found != dict.fromkeys(names, cells[1]):
            message = (
                f"`hbo.trace: {trace}` was given, whose datasets and levels are `{found}`, but here they are "
                f"`{dict.fromkeys(names, cells[1])}`; give the trace of a run with the same data and levels."
            )
            raise ValueError(message)
    average = history.mean_weights()
    return np.array([average[name] for name in names], np.float64)


def _history(trace: Path) -> History:
    try:
        return Trace(trace).history()
    except OSError as error:
        message = (
            f"`hbo.trace: {trace}` was given, but it cannot be read ({error}); "
            f"give the `hbo_trace.jsonl` of an earlier run."
        )
        raise ValueError(message) from error
