"""What the benchmark shows: a table, the headline, and one JSON object."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from hbo_plugin._sampler import __version__, build_profile
from hbo_plugin.outputs import STDOUT, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from hbo_plugin.bench.measure import Row, Unit

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
_LIBRARIES = ("numpy", "torch", "torchdata", "datasets", "axolotl")
_MORE_IS_BETTER = {"draws/s", "rows/s", "share"}


def environment() -> dict[str, Any]:
    """Where the numbers come from."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "hbo": __version__,
        "build_profile": build_profile,
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def headline(rows: Sequence[Row]) -> dict[str, float]:
    """How many times as good as the best peer the worse of our modes is, by case; cases without a peer are left out."""
    return {
        case: min(_ratio(value, best, ours[0].unit) for row in ours if (value := row.value) is not None)
        for case, group in _by_case(rows)
        if (best := _best_peer(group)) is not None and (ours := [row for row in group if row.ours])
    }


BEST_PEER = "hbo against the best peer of each case"


def as_json(rows: Sequence[Row], ratios: dict[str, float], where: dict[str, Any]) -> dict[str, Any]:
    """The object that `--json` writes."""
    return {"rows": [asdict(row) for row in rows], "headline": ratios, "environment": where}


def tables(
    rows: Sequence[Row], title: str, ratios: dict[str, float], where: dict[str, Any]
) -> Iterator[RenderableType]:
    """A table a case, the headline, and the machine."""
    for case, group in _by_case(rows):
        table = Table(title=case, title_justify="left", title_style="bold")
        for header in ("sampler", "median", "least .. greatest", "by CPU time", "against the best peer", "note"):
            table.add_column(header, justify="left" if header in {"sampler", "note"} else "right")
        best = _best_peer(group)
        without: dict[str, list[str]] = {}
        for row in group:
            if row.value is None:
                without.setdefault(row.note, []).append(row.name)
            else:
                table.add_row(*_cells(row, best), style="bold" if row.ours else None)
        yield table
        yield from (f"no number for {', '.join(names)}: {note}" for note, names in without.items())
        yield ""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("case")
    table.add_column("the worse of our modes" if title == BEST_PEER else "", justify="right")
    for case, ratio in ratios.items():
        table.add_row(case, _times(ratio))
    yield table
    if (where["load"] or 0) > where["cores"]:
        yield "The machine was busy with other work: trust the column by CPU time."
    yield ", ".join(f"{key} {value}" for key, value in where.items() if value is not None)


def publish(rows: Sequence[Row], json_to: Path | None, ratios: tuple[str, dict[str, float]] | None = None) -> None:
    """Print the tables, and write what was asked for; with the JSON on stdout, nothing else goes there.

    Args:
        rows: all that was measured.
        json_to: a path, - for stdout, or nowhere.
        ratios: the headline and its title, if it is not how we compare with the best peer.
    """
    where = environment()
    title, found = ratios or (BEST_PEER, headline(rows))
    if json_to != STDOUT:
        wide_console().print(*tables(rows, title, found, where), sep="\n")
    if json_to is not None:
        write_json(json_to, as_json(rows, found, where))


def wide_console() -> Console:
    """Stdout, with room for a table where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _cells(row: Row, best: float | None) -> tuple[str, ...]:
    spread = " .. ".join(human(value, row.unit) for value in row.spread or ())
    value, cpu = ("" if number is None else human(number, row.unit) for number in (row.value, row.cpu))
    ratio = "" if best is None or row.value is None else _times(_ratio(row.value, best, row.unit))
    return row.name, value, spread, cpu, ratio, row.note


def _by_case(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    return ((case, list(group)) for case, group in groupby(rows, key=lambda row: row.case))


def _best_peer(group: Sequence[Row]) -> float | None:
    values = [row.value for row in group if row.value is not None and not row.ours]
    if not values:
        return None
    return max(values) if group[0].unit in _MORE_IS_BETTER else min(values)


def _ratio(value: float, best: float, unit: Unit) -> float:
    """Above 1 where the value is better than the best."""
    return value / best if unit in _MORE_IS_BETTER else best / value


def _times(ratio: float) -> str:
    return f"{ratio:.4g}x" if abs(ratio - 1) < 0.1 else f"{ratio:.3g}x" if ratio < 1000 else f"{ratio:,.0f}x"


def human(value: float, unit: str) -> str:
    """Three digits, with a prefix; `unit` is one of `Unit`, or B for bytes."""
    if unit == "MB":
        return f"{value:,.0f} MB"
    if unit == "share":
        return f"{value:.2%}"
    if unit == "batches":
        return f"{value:.2f}"
    if not value:
        return f"0 {unit}"
    scale, prefix = next((pair for pair in _PREFIXES if value >= pair[0]), _PREFIXES[-1])
    return f"{value / scale:.3g} {prefix}{unit.removeprefix('draws').removeprefix('rows')}"
