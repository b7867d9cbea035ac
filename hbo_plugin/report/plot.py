"""The picture of a run: the weight of each dataset over the steps."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hbo_plugin.trace import History


def plot(history: History, path: Path) -> None:
    """Draw with matplotlib, from the extra `plot`, in the format that the path ends in."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="optimizer step", ylabel="weight", ylim=(0, 1))
    steps = [state.step for state in history.states]
    weights = [[state.weight(name) for state in history.states] for name in history.datasets]
    # A long name would leave no room, a `$` would begin a formula, and a legend leaves out what begins with `_`.
    wrapped = ("\n ".join(wrap(name, 32, max_lines=4, placeholder="…")) for name in history.datasets)
    names = [f" {name}".replace("$", r"\$") for name in wrapped]
    areas = axes.stackplot(steps, weights, step="post")
    figure.legend(areas, names, loc="outside right upper", reverse=True)
    figure.savefig(path)
