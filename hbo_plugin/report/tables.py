"""The tables of a page: every cell has its number as it is in the trace, beside the text that rounds it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from hbo_plugin.report import series
from hbo_plugin.report.effects import by_pair
from hbo_plugin.report.summary import Change
from hbo_plugin.signals.table import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hbo_plugin.history import History
    from hbo_plugin.report.summary import RowWeightSummary, Summary


@dataclass(frozen=True)
class Cell:
    """What a table shows in one place.

    Attributes:
        text: as it is read.
        value: the number, with all its digits; empty where the text is no number.
    """

    text: str
    value: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: what a reader of the page's source finds it by.
        headers: of its columns.
        rows: of cells, as many as there are headers; the first is the name of the row.
    """

    name: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @property
    def long(self) -> bool:
        """Whether it needs a search box."""
        return len(self.rows) > series.TOP


def number(value: float | None, form: str) -> Cell:
    """A number in this form; a dash for one that is not known or not finite."""
    return Cell("-") if value is None or not isfinite(value) else Cell(format(value, form), repr(value))


def datasets(history: History, found: Summary) -> Table:
    """What became of each dataset."""
    about = history.about
    last_losses = {name: loss for told in history.training for name, loss in told.losses.items()}
    has_losses = any(each.held_out_loss for each in found.datasets)
    headers = [
        "dataset",
        "rows",
        "prior",
        "first weight",
        "weight now",
        "row share",
        "token share",
        "epochs",
        "cap",
        "capped",
    ]
    headers += ["training loss"] * bool(last_losses) + [
        "first held-out loss",
        "held-out loss",
        "overfits since",
    ] * has_losses
    rows = []
    for each in found.datasets:
        cells = [
            Cell(each.name),
            number(each.rows, ","),
            number(about.prior.get(each.name), ".2%"),
            number(each.weight.first, ".2%"),
            number(each.weight.last, ".2%"),
            number(each.row_share, ".2%"),
            number(each.token_share, ".2%"),
            number(each.epochs, ".2f"),
            number(about.max_epochs.get(each.name), "g"),
            Cell("yes" if each.capped else "no"),
        ]
        if last_losses:
            cells.append(number(last_losses.get(each.name), ".4f"))
        if has_losses:
            loss = each.held_out_loss or Change(None, None)
            cells += [number(loss.first, ".4f"), number(loss.last, ".4f")]
            cells.append(
                Cell("")
                if each.overfits_since is None
                else Cell(f"step {each.overfits_since:,}", str(each.overfits_since))
            )
        rows.append(cells)
    return Table("datasets", headers, rows)


def levels(found: Summary) -> Table:
    """The weights of the levels within each dataset."""
    most = max(len(each.levels) for each in found.datasets)
    headers = [f"level {level}, {when}" for level in range(most) for when in ("first", "now")]
    rows = [
        [Cell(each.name), *(number(value, ".1%") for level in each.levels for value in (level.first, level.last))]
        for each in found.datasets
    ]
    return Table("levels", ["dataset", *headers], rows)


def signals(history: History) -> Table:
    """The last measurement of each signal."""
    last = {name: of for each in history.measured for name, of in each.signals.items()}
    rows = [
        [
            Cell(name),
            *(number(series.of_dataset(of.get(name), history.states[-1].rows[name]), ".4g") for of in last.values()),
        ]
        for name in history.datasets
    ]
    return Table("signals", ["dataset", *(signal.replace("_", " ") for signal in last)], rows)


def effects(found: Summary) -> Table:
    """The last effect of each dataset on each held-out set, with its standard error."""
    rows = []
    for (signal, dataset, held_out), measured in by_pair(found.effects).items():
        last = measured[-1]
        numbers = (number(last.value, "+.4f"), number(last.error, ".4f"), number(last.step, ","))
        rows.append([Cell(dataset), Cell(held_out), Cell(signal.replace("_", " ")), *numbers])
    return Table("effects", ["dataset", "held-out set", "effect", "value", "standard error", "at step"], rows)


def capped(history: History) -> Table:
    """When `max_epochs` lowered weights."""
    rows = [
        [Cell(name), number(since, ","), number(end, ","), number(share, ".0%")]
        for name in history.datasets
        for since, end, share in series.capped_spans(history, name)
    ]
    return Table("capped", ["dataset", "from step", "to step", "of its levels, at most"], rows)


def row_weights(found: RowWeightSummary) -> Table:
    """The mean row weight of each dataset."""
    rows = [[Cell(name), number(each.first, ".4f"), number(each.last, ".4f")] for name, each in found.datasets.items()]
    return Table("row_weights", ["dataset", "first", "now"], rows)


def costs(seconds: Mapping[str, float], elapsed: float) -> Table:
    """What each part of hbo took."""
    parts = {**seconds, "all of hbo": sum(seconds.values()), "the run": elapsed}
    rows = [
        [Cell(part), number(spent, ",.2f"), number(spent / max(elapsed, 1e-9), ".2%")] for part, spent in parts.items()
    ]
    return Table("costs", ["part", "seconds", "of the run"], rows)


def pairs(name: str, headers: Sequence[str], found: Mapping[str, str]) -> Table:
    """Words with words."""
    return Table(name, headers, [[Cell(key), Cell(value)] for key, value in found.items()])


def meaning(signal: str) -> str:
    """A sentence about a signal; nothing where a class of the user's own made it up."""
    known = SIGNALS.get(signal)
    return f"{known.meaning[0].upper()}{known.meaning[1:]}; in {known.unit}." if known else ""
