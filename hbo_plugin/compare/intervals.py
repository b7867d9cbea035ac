"""Differences as points with their intervals, in rows: what a picture and a figure of a page show of them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from hbo_plugin.report.bars import in_rows
from hbo_plugin.report.style import DASHES, INK, Drawn, Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.compare.statistics import Difference

_MOST_SETS = 30
"""More would not fit on a page; the tables have them all."""
_SPREAD = 0.7
"""How much of a row the points in it take."""
_SYMBOLS = dict(zip(DASHES, ("circle", "square-open", "diamond-open"), strict=True))
"""Of points, in place of the dashes of lines."""


@dataclass(frozen=True)
class Intervals:
    """What is drawn.

    Attributes:
        rows: their names.
        points: by name, a difference in each row; None where there is none.
        axis: what the differences are.
    """

    rows: Sequence[str]
    points: Mapping[str, Sequence[Difference | None]]
    axis: str

    @classmethod
    def of(cls, found: Comparison) -> Intervals:
        """Of each arm, on the target and on each held-out set."""
        arms = [each for each in found.arms if each.difference]
        sets = sorted({name for each in arms for name in each.sets})[:_MOST_SETS]
        points = {each.arm: [each.difference, *(each.sets.get(name) for name in sets)] for each in arms}
        return cls(
            ["the target", *sets], points, f"loss minus that of {found.baseline}, nats per token; left of 0 is better"
        )

    def placed(self) -> Iterator[tuple[str, list[tuple[float, Difference]]]]:
        """Yield each name with its differences, and where they stand: those of one row beside each other."""
        for index, (name, found) in enumerate(self.points.items()):
            offset = _SPREAD * (index - (len(self.points) - 1) / 2) / len(self.points)
            yield name, [(row + offset, each) for row, each in enumerate(found) if each]

    def drawn(self, looks: Mapping[str, Key]) -> Drawn:
        """Return them as a figure of a page, with the look of each name."""
        import plotly.graph_objects as go

        # A point has no dashes.
        shown = [Key(name, looks[name].colour, _SYMBOLS[looks[name].dash]) for name in self.points]
        traces = []
        for key, (_, placed) in zip(shown, self.placed(), strict=True):
            below, above = zip(*(_errors(each) for _, each in placed), strict=True) if placed else ((), ())
            traces.append(
                go.Scatter(
                    x=[each.mean for _, each in placed],
                    y=[row for row, _ in placed],
                    name=key.label,
                    mode="markers",
                    marker={"color": key.colour, "symbol": key.dash, "size": 8},
                    error_x={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2},
                    hovertemplate="%{x:+.4f}",
                )
            )
        labels = [Key(name, INK).label for name in self.rows]
        figure = in_rows(
            traces, labels, height=max(28, 14 * len(self.points)), x=escape(self.axis, quote=False), hovermode="closest"
        )
        figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dash"})
        return Drawn(figure, shown)

    def plot(self, path: Path) -> None:
        """Draw them with matplotlib, from the extra `plot`, in the format that the path ends in."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 1.2 + len(self.rows) * (0.25 + 0.15 * len(self.points))), layout="constrained")
        axes: Any = figure.subplots()
        axes.axvline(0, color="grey", linewidth=0.8)
        for name, placed in self.placed():
            axes.errorbar(
                [each.mean for _, each in placed],
                [row for row, _ in placed],
                xerr=[*zip(*(_errors(each) for _, each in placed), strict=True)],
                fmt="o",
                markersize=4,
                capsize=3,
                linewidth=1.2,
                label=f" {_plain(name)}",
            )
        axes.set_yticks(range(len(self.rows)), map(_plain, self.rows))
        axes.invert_yaxis()
        axes.set_xlabel(_plain(self.axis))
        axes.set_title("Mean over seeds with 95% intervals")
        if self.points:
            figure.legend(loc="outside right upper")
        figure.savefig(path)


def _errors(found: Difference) -> tuple[float, float]:
    """How far the interval reaches below and above the mean; nowhere where there is none."""
    if found.low is None or found.high is None:
        return 0.0, 0.0
    return found.mean - found.low, found.high - found.mean


def _plain(name: str) -> str:
    """A name in which no formula begins."""
    return name.replace("$", r"\$")
