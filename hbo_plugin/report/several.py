"""What a page shows of several runs together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hbo_plugin.report import figures, series, tables
from hbo_plugin.report.page import Page, Section
from hbo_plugin.report.style import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hbo_plugin.report.sections import RunPage
    from hbo_plugin.report.summary import Change, DatasetSummary


def page(runs: Sequence[RunPage]) -> Page:
    """Return the page of a run, or one that compares several."""
    pages = [run.page for run in runs]
    return pages[0] if len(runs) == 1 else Page("hbo report", f"{len(runs)} runs", [*_sections(runs)], parts=pages)


def _sections(runs: Sequence[RunPage]) -> Iterator[Section]:
    """Their results, their mixtures, and what they were configured to do differently."""
    looks = keys(run.name for run in runs)
    yield Section("Runs", table=_overview(runs))
    lines = [
        series.Line(run.name, [each.step for each in found], [each.target for each in found])
        for run in runs
        if (found := series.thin(run.history.evaluations))
    ]
    measured = " and ".join(dict.fromkeys(run.history.about.losses for run in runs))
    if lines:
        drawn = figures.courses(looks, lines, measured)
        yield Section("Held-out loss of the target", "By optimizer steps.", [drawn], wide=True)
    among = series.top(*(run.history for run in runs))
    mixtures = [replace(figures.mixture(series.Shown.of(run.history, among)), title=run.name) for run in runs]
    yield Section("Mixtures", "A dataset has one colour in all runs. The bar is the prior.", mixtures, wide=True)
    names = [*dict.fromkeys(name for run in runs for name in run.history.datasets)]
    weights = _by_dataset("weights", runs, names, lambda each: each.weight, ".2%")
    yield Section("Weights now", "Of each dataset, in each run.", table=weights)
    if any(each.held_out_loss for run in runs for each in run.summary.datasets):
        losses = _by_dataset("held_out", runs, names, lambda each: each.held_out_loss, ".4f")
        yield Section("Held-out loss now", f"Of each dataset, in {measured}.", table=losses)
    if differences := _differences(runs):
        yield Section("Different keys", "Keys of the `hbo:` block whose values are not the same.", table=differences)


def _overview(runs: Sequence[RunPage]) -> tables.Table:
    headers = [
        "run",
        "method",
        "steps",
        "ended",
        "rows",
        "tokens",
        "first target loss",
        "target loss",
        "time that hbo took",
    ]
    rows = []
    for run in runs:
        found, target = run.summary, run.summary.target_loss
        share = sum(run.costs[0].values()) / max(run.costs[1], 1e-9) if run.costs else None
        rows.append(
            [
                tables.Cell(run.name),
                tables.Cell(run.history.about.config.get("method", "-")),
                tables.number(found.step, ","),
                tables.Cell("yes" if found.ended else "no"),
                tables.number(found.rows_trained, ","),
                tables.number(found.tokens_trained, ","),
                tables.number(target.first if target else None, ".4f"),
                tables.number(target.last if target else None, ".4f"),
                tables.number(share, ".2%"),
            ]
        )
    return tables.Table("runs", headers, rows)


def _by_dataset(
    name: str,
    runs: Sequence[RunPage],
    names: Sequence[str],
    change: Callable[[DatasetSummary], Change | None],
    form: str,
) -> tables.Table:
    """The last value of each dataset, a column for each run."""
    found = [{each.name: change(each) for each in run.summary.datasets} for run in runs]
    rows = []
    for dataset in names:
        values = [value.last if (value := of.get(dataset)) else None for of in found]
        rows.append([tables.Cell(dataset), *(tables.number(value, form) for value in values)])
    return tables.Table(name, ["dataset", *(run.name for run in runs)], rows)


def _differences(runs: Sequence[RunPage]) -> tables.Table | None:
    blocks = [run.history.about.config for run in runs]
    keys_ = [*dict.fromkeys(key for block in blocks for key in block)]
    rows = [
        [tables.Cell(key), *(tables.Cell(block.get(key, "-")) for block in blocks)]
        for key in keys_
        if len({block.get(key) for block in blocks}) > 1
    ]
    return tables.Table("differences", ["key", *(run.name for run in runs)], rows) if rows else None
