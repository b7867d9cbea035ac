"""The picture of a run: the weight of each dataset over the steps, and what each did for the target where that was measured."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from hbo_plugin.report.effects import by_pair, effects
from hbo_plugin.report.style import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hbo_plugin.history import History


def plot(history: History, path: Path) -> None:
    """Draw with matplotlib, from the extra `plot`, in the format that the path ends in."""
    from matplotlib.figure import Figure

    measured = by_pair(effects(history.measured))
    sets = [*dict.fromkeys((signal, held_out) for signal, _, held_out in measured)]
    figure = Figure(figsize=(8, 4.5 + 2.5 * len(sets)), layout="constrained")
    axes, *below = figure.subplots(1 + len(sets), sharex=True, squeeze=False, height_ratios=[4.5, *[2.5] * len(sets)])[
        :, 0
    ]
    axes.set(ylabel="weight", ylim=(0, 1))
    steps = [state.step for state in history.states]
    axes.set_title(f"The mixture over {steps[-1]:,} steps")
    weights = [[state.weight(name) for state in history.states] for name in history.datasets]
    # A long name would leave no room, a `$` would begin a formula, and a legend leaves out what begins with `_`.
    wrapped = ("\n ".join(wrap(name, 32, max_lines=4, placeholder="…")) for name in history.datasets)
    names = [f" {name}".replace("$", r"\$") for name in wrapped]
    areas = axes.stackplot(steps, weights, step="post", colors=COLOURS)
    for area in areas[len(COLOURS) :]:
        area.set(hatch="//", edgecolor="white", linewidth=0)
    colours = {name: area.get_facecolor()[0] for name, area in zip(history.datasets, areas, strict=True)}
    _draw_prior(axes, history, areas)
    for lower, (signal, held_out) in zip(below, sets, strict=True):
        _draw(lower, {key[1]: measured[key] for key in measured if key[::2] == (signal, held_out)}, colours)
        lower.set_ylabel(f"{signal} on\n{held_out}".replace("$", r"\$"))
    (below or [axes])[-1].set_xlabel("optimizer step")
    figure.legend(areas, names, loc="outside right upper", reverse=True)
    figure.savefig(path)


def _draw_prior(axes: Any, history: History, areas: Sequence[Any]) -> None:
    """The prior as a bar, left of the first step, that looks as the areas do."""
    length, below = max(1, history.states[-1].step), 0.0
    for name, area in zip(history.datasets, areas, strict=True):
        share, look = history.prior[name], {"facecolor": area.get_facecolor()[0], "hatch": area.get_hatch()}
        axes.bar(-0.05 * length, share, width=0.04 * length, bottom=below, edgecolor="white", linewidth=0, **look)
        below += share
    axes.annotate(
        "prior", (-0.05 * length, 1), (0, 2), textcoords="offset points", ha="center", va="bottom", fontsize="small"
    )
    axes.set_xlim(-0.08 * length, length)


def _draw(axes: Any, by_dataset: dict[str, Any], colours: dict[str, Any]) -> None:
    """One held-out set: a line for each dataset, with the error of each value."""
    axes.axhline(0, color="grey", linewidth=0.5)
    for name, found in by_dataset.items():
        values, errors = [each.value for each in found], [each.error or 0.0 for each in found]
        axes.errorbar(
            [each.step for each in found], values, errors, color=colours[name], marker=".", capsize=2, linewidth=1
        )
