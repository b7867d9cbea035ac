"""What the terminal shows of a search: its trials, what they nominate, and what was confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.compare.terminal import comparison
from hbo_plugin.compare.words import with_interval
from hbo_plugin.report.terminal import literal, table, title
from hbo_plugin.search import words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hbo_plugin.search.find import Found


def search(found: Found) -> RenderableType:
    """Render it."""
    parts: list[RenderableType] = [title(words.of_trials(found)), _trials(found), ""]
    parts += [*map(literal, words.nominations(found)), ""]
    if found.confirmed is not None:
        parts += [comparison(found.confirmed), "", *map(literal, words.helped(found)), ""]
    parts.append(literal(words.conclusion(found)))
    if block := words.block(found):
        parts += [words.PASTE, "", *map(literal, block)]
    return Group(*parts)


def _trials(found: Found) -> RenderableType:
    """What short trials came to on the rows that steer."""
    trials = found.trials.trials
    outside = any(trial.outside is not None for trial in trials)
    made = table([*found.target, *(["all others"] if outside else [])])
    made.columns[0].header = "trial"
    for trial in trials:
        cells = [with_interval(trial.sets[name]) for name in found.target]
        if outside:
            cells.append("" if trial.outside is None else f"{trial.outside:+.3f}")
        made.add_row(literal(trial.told), *cells)
    return made
