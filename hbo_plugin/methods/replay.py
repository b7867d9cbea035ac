"""A control: the average weights of an earlier run, all run long. What beats it owes that to its timing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.state import from_json, to_json
from hbo_plugin.methods.static import Static


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


class Replay(Static):
    """Every cell at the mean of its weights in the earlier run, each weight counted by the steps it was in force.

    The weights are kept in the state, so that a resumed run does not change where the trace did.

    Source: a control for adaptivity; no paper.
    """

    Settings: ClassVar[type] = ReplaySettings

    def __init__(self, rows: NDArray[np.int64], settings: ReplaySettings, run: RunFacts) -> None:
        trace, names = settings.trace, run.names
        weights = _average(trace, names, rows.shape)
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
        return {"weights": to_json(self._weights.ravel())}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue with the saved weights; ValueError where they do not fit."""
        self._weights = from_json(state, "weights", self._weights.size).reshape(self._weights.shape)


def _average(trace: Path, names: Sequence[str], cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean over steps of the weights in the trace: float64[datasets, levels]."""
    records = _records(trace)
    ended = records[-1]["step"] if records and records[-1].get("event") == "end" else 0
    if not ended:
        message = f"`hbo.trace: {trace}` was given, but that run has not ended; give the trace of a run that has."
        raise ValueError(message)
    in_force = [record for record in records if record.get("event") in {"start", "update"}]
    steps = np.diff([record["step"] for record in in_force] + [ended])
    weights = []
    for record in in_force:
        found = {name: len(levels) for name, levels in record["weights"].items()}
        if found != dict.fromkeys(names, cells[1]):
            message = (
                f"`hbo.trace: {trace}` was given, whose datasets and levels are `{found}`, but here they are "
                f"`{dict.fromkeys(names, cells[1])}`; give the trace of a run with the same data and levels."
            )
            raise ValueError(message)
        weights.append([record["weights"][name] for name in names])
    average: NDArray[np.float64] = np.average(np.array(weights, dtype=np.float64), axis=0, weights=steps)
    return average


def _records(trace: Path) -> list[dict[str, Any]]:
    """Return the records of the trace, of which the weights in force and the end matter here."""
    try:
        records = [json.loads(line) for line in Path(trace).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        message = (
            f"`hbo.trace: {trace}` was given, but it cannot be read as a trace ({error}); give an `hbo_trace.jsonl`."
        )
        raise ValueError(message) from error
    return [record for record in records if record.get("event") in {"start", "update", "end"}]
