"""A control: the average weights of an earlier run, all run long. What beats it owes that to its timing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import check_rows, from_json, to_json
from hbo_plugin.methods.static import Static
from hbo_plugin.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.trace import History


class Replay(Static):
    """Every cell at the mean of its weights in the earlier run, each weight counted by the steps it was in force.

    The weights are kept in the state, so that a resumed run does not change where the trace did.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        names: the datasets' names, in order; the earlier run had the same, with the same levels.
        trace: path of the earlier run's trace, `hbo_trace.jsonl` in its output folder; that run had ended.

    Raises ValueError for anything else. Source: a control for adaptivity; no paper.
    """

    def __init__(self, rows: NDArray[np.int64], *, names: Sequence[str] = (), trace: str | Path | None = None) -> None:
        check_rows(rows)
        weights = _average(trace, names, rows.shape)
        stray = (weights > 0) != (rows > 0)
        if stray.any():
            dataset, level = np.argwhere(stray)[0]
            message = (
                f"`trace` is `{trace}`, where level {level} of dataset `{names[dataset]}` has the weight "
                f"`{weights[dataset, level]:.3g}`, but here it has {rows[dataset, level]} rows: give the trace of a "
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


def _average(trace: str | Path | None, names: Sequence[str], cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the mean over steps of the weights in the trace: float64[datasets, levels]."""
    history = _history(trace)
    steps = [state.step for state in history.states]
    if not history.ended or steps[-1] == steps[0]:
        message = f"`trace` is `{trace}`, but that run has not ended: give the trace of a run that has."
        raise ValueError(message)
    weights = []
    for state in history.states[:-1]:
        found = {name: len(levels) for name, levels in state.weights.items()}
        if found != dict.fromkeys(names, cells[1]):
            message = (
                f"`trace` is `{trace}`, whose datasets and levels are `{found}`, but here they are "
                f"`{dict.fromkeys(names, cells[1])}`: give the trace of a run with the same data and levels."
            )
            raise ValueError(message)
        weights.append([state.weights[name] for name in names])
    average: NDArray[np.float64] = np.average(np.array(weights, dtype=np.float64), axis=0, weights=np.diff(steps))
    return average


def _history(trace: str | Path | None) -> History:
    if trace is None:
        message = "`trace` is `None`, but this method needs it: set it to the `hbo_trace.jsonl` of an earlier run."
        raise ValueError(message)
    try:
        return Trace(Path(trace)).history()
    except (OSError, TypeError) as error:
        message = f"`trace` is `{trace}`, which cannot be read ({error}): give the `hbo_trace.jsonl` of an earlier run."
        raise ValueError(message) from error
