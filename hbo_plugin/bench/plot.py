"""The picture: draws a second by size of the mixture, a panel for each way of drawing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hbo_plugin.bench.measure import Row


def plot(rows: Sequence[Row], path: Path) -> None:
    """Write the picture in the format that the path ends in."""
    from matplotlib.figure import Figure

    lines: dict[str, dict[Row, int]] = {}
    for row in rows:
        if row.unit == "draws/s" and row.value is not None:
            kind, size = _split(row.case)
            lines.setdefault(kind, {})[row] = size
    figure = Figure(figsize=(7 * max(1, len(lines)), 5.5), layout="constrained")
    panels = figure.subplots(1, max(1, len(lines)), sharey=True, squeeze=False)[0]
    names = list(dict.fromkeys((row.name, row.ours) for row in rows))
    peers = [name for name, ours in names if not ours]
    for panel, (kind, points) in zip(panels, lines.items(), strict=False):
        for name, ours in names:
            line = sorted((size, row.value, row.spread) for row, size in points.items() if row.name == name)
            if line:
                sizes, values, spreads = zip(*line, strict=True)
                look = {"color": "black", "linewidth": 3} if ours else {"color": f"C{peers.index(name)}"}
                panel.loglog(sizes, values, marker="o", label=name, **look)
                panel.fill_between(sizes, *zip(*spreads, strict=True), color=look["color"], alpha=0.15, linewidth=0)
        panel.set(title=kind, xlabel="rows of the mixture", ylabel="draws a second")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.savefig(path)


def _split(case: str) -> tuple[str, int]:
    """The kind and the size, from the name of a case."""
    found = re.fullmatch(r"(.*), ([\d,]+) rows", case)
    if not found:
        msg = f"`{case}` is not the name of a case by size."
        raise ValueError(msg)
    return found[1], int(found[2].replace(",", ""))
