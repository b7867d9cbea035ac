"""The page of a comparison: what the terminal says, with figures, cost and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbo_plugin.compare import words
from hbo_plugin.compare.arms import told
from hbo_plugin.compare.intervals import Intervals
from hbo_plugin.messages import yaml_text
from hbo_plugin.report import bars, figures, series, tables
from hbo_plugin.report.page import Page, Section, Tile
from hbo_plugin.report.style import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from hbo_plugin.compare.arms import Arm
    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.compare.statistics import Difference


def page(found: Comparison, arms: Sequence[Arm], config: Mapping[str, Any]) -> Page:
    """Return it.

    Args:
        found: the comparison.
        arms: all of it.
        config: the configuration without its `hbo:` block.
    """
    tiles = [
        Tile(f"baseline: {each.arm}", tables.number(each.target, ".3f"), "nats per token") for each in found.arms[:1]
    ]
    tiles += [
        Tile(each.arm, tables.number(each.difference.mean, "+.3f"), each.verdict)
        for each in found.arms
        if each.difference and each.verdict
    ]
    status = "Not all runs have ended" if found.missing else "All runs have ended"
    configured = configuration(config, notes=[told(arm) for arm in arms])
    return Page(
        "hbo compare", "The run made several ways", [*sections(found), configured], tiles, status, not found.missing
    )


def sections(found: Comparison) -> Iterator[Section]:
    """What was found, without the configuration."""
    if caveats := words.caveats(found):
        yield Section("To know first", notes=caveats)
    if not found.arms:
        return
    looks = keys(each.arm for each in found.arms)
    yield Section("Verdict", words.how_judged(found), notes=words.verdicts(found), wide=True)
    yield Section("Loss of the target", f"{words.TARGET}.", table=_arms(found))
    if any(each.difference for each in found.arms):
        text = "Means over seeds with 95% intervals."
        yield Section("Differences", text, [Intervals.of(found).drawn(looks)], wide=True)
    if sets := sorted({name for each in found.arms for name in each.sets}):
        compared = {each.arm: each.sets for each in found.arms if each.sets}
        yield Section(
            "Held-out sets", f"{words.of_sets(found)}.", table=differences("sets", "held-out set", sets, compared)
        )
    if lines := [series.Line(each.arm, *zip(*each.course, strict=True)) for each in found.arms if each.course]:
        drawn = figures.courses(looks, lines, "nats per token")
        yield Section("Held-out loss of the target", "By optimizer steps, the mean over seeds.", [drawn], wide=True)
    if seconds := {each.arm: each.seconds for each in found.arms if each.seconds}:
        text = "Mean wall time of the training of a run, without preparing data and evaluations."
        yield Section("Cost", text, [bars.costs(seconds)])


def configuration(config: Mapping[str, Any], notes: Sequence[str]) -> Section:
    """What was trained, with what differs between the runs."""
    every = tables.pairs("config", ["key", "value"], {key: yaml_text(value) for key, value in config.items()})
    return Section("Configuration", notes=notes, folded=[Section("Every other key", table=every)], wide=True)


def differences(
    name: str, rows_are: str, rows: Sequence[str], columns: Mapping[str, Mapping[str, Difference]]
) -> tables.Table:
    """A table of differences with their intervals, by column and row."""
    cells = [
        [tables.Cell(row), *(_difference(of[row]) if row in of else tables.Cell("-") for of in columns.values())]
        for row in rows
    ]
    return tables.Table(name, [rows_are, *columns], cells)


def _difference(found: Difference) -> tables.Cell:
    return tables.Cell(words.with_interval(found, " "), repr(found.mean))


def _arms(found: Comparison) -> tables.Table:
    equal = any(each.at_equal_tokens for each in found.arms)
    timed = found.arms[0].seconds
    headers = ["arm", "seeds", "loss", f"from {found.baseline}", "from", "to", "p, after Holm"]
    headers += ["at equal tokens"] * equal + ["seconds"]
    headers += ["time over the baseline's"] * bool(timed)
    rows = []
    for each in found.arms:
        of = each.difference
        cells = [
            tables.Cell(each.arm),
            tables.number(each.seeds, ","),
            tables.number(each.target, ".4f"),
            *(tables.number(value, "+.4f") for value in ((of.mean, of.low, of.high) if of else (None,) * 3)),
            tables.number(each.p, ".4f"),
        ]
        if equal:
            cells.append(_difference(each.at_equal_tokens) if each.at_equal_tokens else tables.Cell("-"))
        cells.append(tables.number(each.seconds, ",.1f"))
        if timed:
            cells.append(tables.number(each.seconds and each.seconds / timed, ".2f"))
        rows.append(cells)
    return tables.Table("arms", headers, rows)
