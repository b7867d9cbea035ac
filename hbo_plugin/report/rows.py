"""The rows that a run drew, read back: which dataset, level and row of the user's data each of them is."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbo_plugin.trace import ROWS_FILE, TRACE_FILE, JsonLines, Trace

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from hbo_plugin.history import History, State


@dataclass(frozen=True)
class DrawnRow:
    """A row that a step trained on.

    Attributes:
        step: the optimizer step, from 1.
        place: in the step, from 1; the same whatever the number of ranks.
        dataset: its name.
        level: 0 is the easiest.
        row: of the training set, from 0.
        raw_row: of the user's data that it was made of, counted in what the entry's `path` and `split` hold: from 1, as
            messages count; 0 where Axolotl made the row up.
        entry: where the dataset is read from, in keys of `datasets:`.
    """

    step: int
    place: int
    dataset: str
    level: int
    row: int
    raw_row: int
    entry: dict[str, Any]

    @property
    def told(self) -> str:
        """Where in the run it was drawn."""
        return f"Step {self.step}, place {self.place}"


@dataclass(frozen=True)
class WeighedRow:
    """A row that was trained on, and the `weight` that it had last; the rest as in `DrawnRow`."""

    weight: float
    dataset: str
    level: int
    row: int
    raw_row: int
    entry: dict[str, Any]

    @property
    def told(self) -> str:
        """What it counted."""
        return f"Weight {self.weight:.3g}"


def drawn_rows(output_dir: str | Path, steps: Container[int] | None = None) -> Iterator[DrawnRow]:
    """Yield the rows that a run with `record_rows: true` trained on, in their order; it may still train.

    It needs neither torch nor Axolotl, and one step at a time is in memory.

    Args:
        output_dir: of the run.
        steps: those to look at, for instance `range(100, 121)`; None for all.

    Raises:
        ValueError: the run recorded no rows, or a file is not as hbo wrote it.
    """
    path = Path(output_dir) / ROWS_FILE
    history = Trace(Path(output_dir) / TRACE_FILE).history()
    if not path.exists():
        msg = f"`{path}` does not exist; a run with `hbo: {{record_rows: true}}` writes it: choose such a run."
        raise ValueError(msg)
    _check_entries(history)
    cells = _Cells(history.states[0])
    for record in JsonLines(path).records():
        if steps is not None and record["step"] not in steps:
            continue
        try:
            numbers = zip(record["rows"], record["raw_rows"], strict=True)
            for place, (row, raw_row) in enumerate(numbers, 1):
                dataset, level = cells.of(row)
                yield DrawnRow(record["step"], place, dataset, level, row, raw_row, history.entries[dataset])
        except KeyError as error:
            msg = f"`{path}` has a line without `{error.args[0]}`: restore the file, or move it away."
            raise ValueError(msg) from error


def _check_entries(history: History) -> None:
    if missing := [name for name in history.datasets if name not in history.entries]:
        msg = f"`{TRACE_FILE}` does not say where `{missing[0]}` is read from: restore the file."
        raise ValueError(msg)


def lowest_rows(history: History, count: int) -> list[WeighedRow]:
    """Return the rows of the lowest weights when row weights were last told, the lowest first.

    Raises:
        ValueError: the run has no row weights, or did not tell of so many rows.
    """
    if not history.weighed:
        msg = "this run told of no row weights yet; a run with `hbo: {row_weights: ...}` does at each update: choose such a run."
        raise ValueError(msg)
    _check_entries(history)
    told, cells = history.weighed[-1].lowest, _Cells(history.states[0])
    return [
        WeighedRow(weight, *(place := cells.of(row)), row, raw_row, history.entries[place[0]])
        for row, raw_row, weight in told[:count]
    ]


class _Cells:
    """The layout of the training set, as the trace has it: the levels of each dataset follow each other."""

    def __init__(self, state: State) -> None:
        self._cells = [(name, level) for name, sizes in state.rows.items() for level in range(len(sizes))]
        self._ends = [*accumulate(size for sizes in state.rows.values() for size in sizes)]

    def of(self, row: int) -> tuple[str, int]:
        """The dataset and the level of a row of the training set."""
        return self._cells[bisect_right(self._ends, row)]


_KINDS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".txt": "text"}
"""What Axolotl reads a file as, by a part of its path, where the entry has no `ds_type`; else as JSON."""


def contents(rows: Iterable[DrawnRow | WeighedRow], option: str) -> list[dict[str, Any] | None]:
    """Read what the user's files have in these rows now, as JSON values; None for a row that Axolotl made up.

    It needs the library `datasets`, as Axolotl does.

    Args:
        rows: of a run.
        option: of the command that asks for it, for messages.

    Raises:
        ValueError: a dataset is no file on this machine, cannot be read, or has fewer rows than it had.
    """
    opened: dict[str, Any] = {}
    found = []
    for row in rows:
        key = json.dumps(row.entry)  # datasets of one entry share it
        if key not in opened:
            opened[key] = _open(row, option)
        if row.raw_row > (count := len(opened[key])):
            msg = (
                f"`{row.entry['path']}` has {count} rows, but the run trained on its row {row.raw_row}: "
                f"restore the file, or leave `{option}` out."
            )
            raise ValueError(msg)
        values = opened[key][row.raw_row - 1] if row.raw_row else None
        found.append(json.loads(json.dumps(values, default=str)))
    return found


def _open(row: DrawnRow | WeighedRow, option: str) -> Any:
    """The file of a row's dataset, in the order in which Axolotl gets its rows."""
    path = row.entry["path"]
    if not Path(path).is_file():
        msg = (
            f"the rows of dataset `{row.dataset}` cannot be shown, because `{path}` is no file here: "
            f"call this in the folder that the run was started in, or leave `{option}` out."
        )
        raise ValueError(msg)
    if find_spec("datasets") is None:
        msg = (
            f"`{option}` was given, but `datasets`, which reads the rows, is not installed: run `pip install datasets`."
        )
        raise ValueError(msg)
    import datasets

    datasets.disable_progress_bars()
    kind = row.entry.get("ds_type") or next((kind for end, kind in _KINDS.items() if end in path), "json")
    split = row.entry.get("split") or "train"
    try:
        return datasets.load_dataset(kind, name=row.entry.get("name"), data_files=path, split=split)
    except Exception as error:
        msg = f"`{path}` cannot be read as {kind} ({error}): restore the file, or leave `{option}` out."
        raise ValueError(msg) from error
