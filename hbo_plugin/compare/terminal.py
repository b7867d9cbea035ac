"""What the terminal shows of a comparison."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.compare import words
from hbo_plugin.compare.words import with_interval
from hbo_plugin.report.terminal import literal, table, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from hbo_plugin.compare.outcome import ArmOutcome, Comparison

_ARMS, _WIDTH = 3, 18
"""So many arms beside each other, in columns of so many letters, leave room for the name of a held-out set."""


def comparison(found: Comparison) -> RenderableType:
    """Render it."""
    parts: list[RenderableType] = []
    if found.arms:
        parts += [title(words.TARGET), _arms(found), "", *map(literal, words.verdicts(found))]
        if sets := {name for each in found.arms for name in each.sets}:
            arms = [each for each in found.arms if each.sets]
            parts += ["", title(words.of_sets(found))]
            parts += [_sets(arms[at : at + _ARMS], sorted(sets)) for at in range(0, len(arms), _ARMS)]
        parts += ["", words.how_judged(found)]
    for caveat in words.caveats(found):
        parts += ["", literal(caveat)]
    return Group(*parts)


def _arms(found: Comparison) -> Table:
    timed = found.arms[0].seconds
    equal = any(each.at_equal_tokens for each in found.arms)
    headers = ["seeds", "loss", f"from\n{found.baseline}", "p"]
    made = table([*headers, *(["at equal\ntokens"] if equal else []), *(["time"] if timed else [])])
    made.columns[0].header = "arm"
    for each in found.arms:
        cells = [
            str(each.seeds),
            f"{each.target:.3f}",
            with_interval(each.difference) if each.difference else "",
            "" if each.p is None else f"{each.p:.3f}",
        ]
        if equal:
            cells.append(with_interval(each.at_equal_tokens) if each.at_equal_tokens else "")
        if timed:
            cells.append(f"{each.seconds / timed:.2f}x" if each.seconds else "")
        made.add_row(literal(each.arm), *cells)
    return made


def _sets(arms: Sequence[ArmOutcome], sets: list[str]) -> Table:
    made = table([fill(each.arm, _WIDTH) for each in arms])
    made.columns[0].header = "held-out set"
    for name in sets:
        made.add_row(literal(name), *(with_interval(each.sets[name]) if name in each.sets else "" for each in arms))
    return made
