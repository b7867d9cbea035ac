"""The picture of a comparison: how far each arm is from the baseline, on the target and on each held-out set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.compare.statistics import Difference

_MOST_SETS = 30
"""More would not fit on a page; the tables have them all."""


def plot(found: Comparison, path: Path) -> None:
    """Draw with matplotlib, from the extra `plot`, in the format that the path ends in."""
    from matplotlib.figure import Figure

    arms = [each for each in found.arms if each.difference]
    sets = sorted({name for each in arms for name in each.sets})[:_MOST_SETS]
    rows = ["the target", *sets]
    figure = Figure(figsize=(8, 1.2 + len(rows) * (0.25 + 0.15 * len(arms))), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="grey", linewidth=0.8)
    for place, each in enumerate(arms):
        shown = [each.difference, *(each.sets.get(name) for name in sets)]
        offset = 0.7 * (place - (len(arms) - 1) / 2) / max(1, len(arms))
        _draw(axes, shown, offset, each.arm)
    axes.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"loss minus that of {found.baseline}, nats per token; left of 0 is better".replace("$", r"\$"))
    axes.set_title("Mean over seeds with 95% intervals")
    if arms:
        figure.legend(loc="outside right upper")
    figure.savefig(path)


def _draw(axes: Any, shown: list[Difference | None], offset: float, name: str) -> None:
    """One arm: a point in each row that it has a number for, with its interval."""
    points = [(row + offset, each) for row, each in enumerate(shown) if each]
    errors = [
        (0.0, 0.0) if each.low is None or each.high is None else (each.mean - each.low, each.high - each.mean)
        for _, each in points
    ]
    axes.errorbar(
        [each.mean for _, each in points],
        [row for row, _ in points],
        xerr=[*zip(*errors, strict=True)],
        fmt="o",
        markersize=4,
        capsize=3,
        linewidth=1.2,
        label=f" {name}".replace("$", r"\$"),
    )
