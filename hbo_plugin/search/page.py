"""The page of a search: trials and their effects, what they did outside the target, and what was confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbo_plugin.compare.intervals import Intervals
from hbo_plugin.compare.page import configuration, differences
from hbo_plugin.compare.page import sections as of_comparison
from hbo_plugin.report import tables
from hbo_plugin.report.page import Page, Section, Tile
from hbo_plugin.report.style import keys
from hbo_plugin.search import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from hbo_plugin.search.find import Found


def page(found: Found, config: Mapping[str, Any], block: Mapping[str, Any]) -> Page:
    """Return it, with the configuration and its `hbo:` block."""
    tiles = [
        Tile("trials", tables.number(len(found.trials.trials), ","), f"of {found.trial_steps:,} steps each"),
        Tile("better", tables.Cell(found.chosen or "nothing"), f"than {found.baseline}"),
    ]
    shown = [*_sections(found), configuration({**config, "hbo": dict(block)}, notes=[])]
    return Page("hbo search", "The mixture, by trial", shown, tiles, words.conclusion(found).removesuffix("."))


def effects(found: Found) -> Intervals:
    """What each trial did for each held-out set of the target."""
    trials = found.trials.trials
    points = {name: [trial.sets[name] for trial in trials] for name in found.target}
    return Intervals(
        [trial.told for trial in trials],
        points,
        f"loss minus that of {found.baseline}, nats per token; left of 0 is better",
    )


def _sections(found: Found) -> Iterator[Section]:
    if block := words.block(found):
        yield Section("The mixture", words.PASTE, code="\n".join(block), wide=True)
    trials = found.trials.trials
    text = f"{words.of_trials(found)}. Short trials nominate, and only their first rank says much."
    if trials:
        drawn = [effects(found).drawn(keys(found.target))]
        yield Section("Effects of trials", text, drawn, notes=words.nominations(found), wide=True)
        columns = {name: {trial.told: trial.sets[name] for trial in trials} for name in found.target}
        yield Section("Trials", table=differences("trials", "trial", [trial.told for trial in trials], columns))
    if outside := sorted({name for trial in trials for name in trial.others}):
        means = [tables.Cell("all, mean"), *(tables.number(trial.outside, "+.3f") for trial in trials)]
        others = differences("outside", "held-out set", outside, {trial.told: trial.others for trial in trials})
        table = tables.Table(others.name, others.headers, [means, *others.rows])
        text = f"What each trial did to the held-out sets that do not count, minus {found.baseline}; above 0 they are forgotten."
        yield Section("Outside the target", text, table=table)
    if found.confirmed is not None:
        text = "What follows are full runs, on seeds that chose nothing."
        yield Section("Confirmation", text, notes=words.helped(found), wide=True)
        yield from of_comparison(found.confirmed)
