"""Traces of runs that nobody trained."""

from pathlib import Path
from typing import Any

from hbo_plugin.trace import ROWS_FILE, TRACE_FILE, JsonLines, Trace

NAMES = ("sums", "words")


def state(step: int, event: str, weights: dict[str, list[float]]) -> dict[str, Any]:
    """The mixture at a step: every dataset has 10 rows a level, and gave one row a level and step, of three tokens, two of them trained."""
    return {
        "step": step,
        "event": event,
        "unit": "row",
        "weights": weights,
        "rows": {name: [10] * len(levels) for name, levels in weights.items()},
        "rows_trained": {name: [step] * len(levels) for name, levels in weights.items()},
        "tokens": {name: [3 * step] * len(levels) for name, levels in weights.items()},
        "trained_tokens": {name: [2 * step] * len(levels) for name, levels in weights.items()},
        "capped": {name: [False] * len(levels) for name, levels in weights.items()},
    }


def evaluation(step: int, tied: dict[str, str] | None = None, **losses: float) -> dict[str, Any]:
    """The losses of held-out sets at a step; each belongs to the dataset of its name where no others are tied."""
    tied = tied or {name: name for name in losses}
    target = sum(losses.values()) / len(losses)
    return {"step": step, "event": "evaluate", "held_out": losses, "tied": tied, "target": target}


def weighed(step: int, *, lowest: list[list[float]], **numbers: float | None) -> dict[str, Any]:
    """What row weights came to; what is not told of all rows is the mean weight of a dataset, or of a level of it."""
    told = {name: numbers.pop(name) for name in ("mean", "std", "effective", "with_loss")}
    cells = {name: [mean, mean] for name, mean in numbers.items()}
    record = {"zero": 0.0, "datasets": numbers, "cells": cells, "lowest": lowest}
    return {"step": step, "event": "row_weights", **told, **record}


def run_of(*names: str) -> list[dict[str, Any]]:
    """A run that ended, on datasets of two levels."""
    first, last = ([share / len(names), (1 - share) / len(names)] for share in (0.5, 0.25))
    return [
        state(0, "start", dict.fromkeys(names, first)),
        state(10, "update", dict.fromkeys(names, last)),
        state(12, "end", dict.fromkeys(names, last)),
    ]


def write(folder: Path, *records: dict[str, Any]) -> Path:
    """Write the trace of a run; returns its output folder."""
    trace = Trace(folder / TRACE_FILE)
    trace.begin(0)
    for record in records:
        trace.append(record)
    return folder


def record(folder: Path, rows: dict[int, list[tuple[int, int]]]) -> Path:
    """Write the rows of each step: the numbers in the training set and in the user's file; returns the folder."""
    file = JsonLines(folder / ROWS_FILE)
    file.begin(0)
    for step, pairs in rows.items():
        file.append({"step": step, "rows": [row for row, _ in pairs], "raw_rows": [raw_row for _, raw_row in pairs]})
    return folder
