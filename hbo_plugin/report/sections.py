"""The sections of one run in a page: a heading, a sentence, a figure and a table each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hbo_plugin.report import bars, figures, tables
from hbo_plugin.report.page import Page, Section, Tile
from hbo_plugin.report.series import POINTS, TOP, Shown
from hbo_plugin.report.summary import summarise
from hbo_plugin.report.terminal import EFFECTS
from hbo_plugin.trace import TRACE_FILE, Trace, costs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hbo_plugin.history import History
    from hbo_plugin.report.summary import Change, Summary
    from hbo_plugin.report.tables import Cell


@dataclass(frozen=True)
class RunPage:
    """One run in a page.

    Attributes:
        name: of its output folder, as it was given.
        history: as its trace tells it.
        costs: seconds of each part of hbo, and of the run; none in the folders of earlier versions.
    """

    name: str
    history: History
    costs: tuple[dict[str, float], float] | None
    summary: Summary = field(init=False)

    @classmethod
    def read(cls, folder: Path) -> RunPage:
        """Read a run from its output folder.

        Raises:
            ValueError: no run of this version wrote a file of it.
        """
        return cls(str(folder), Trace(folder / TRACE_FILE).history(), costs(folder))

    def __post_init__(self) -> None:
        """Sum the run up."""
        object.__setattr__(self, "summary", summarise(self.history))

    @property
    def page(self) -> Page:
        """All of it."""
        return Page("hbo report", self.name, [*self.sections], [*self.tiles], self._status, self.summary.ended)

    @property
    def _status(self) -> str:
        """How far it came."""
        step, of = self.summary.step, self.history.about.steps
        if self.summary.ended:
            return f"Ended after {step:,} steps"
        return f"Not ended: it still trains, or it was stopped. The trace reaches step {step:,}" + (
            f" of {of:,}" if of else ""
        )

    @property
    def tiles(self) -> Iterator[Tile]:
        """The numbers above all sections."""
        found, states = self.summary, self.history.states
        yield Tile("method", tables.Cell(self.history.about.config.get("method", "not recorded")))
        yield Tile("rows trained on", tables.number(found.rows_trained, ","), f"{found.tokens_trained:,} tokens")
        if found.target_loss:
            yield Tile("held-out loss of the target", *_course(found.target_loss))
        efficiency = [state.efficiency for state in states if state.efficiency is not None]
        if efficiency:
            yield Tile("packing efficiency", tables.number(efficiency[-1], ".1%"))
        if self.costs:
            seconds, elapsed = self.costs
            yield Tile(
                "time that hbo took", tables.number(sum(seconds.values()) / max(elapsed, 1e-9), ".1%"), "of the run"
            )

    @property
    def sections(self) -> Iterator[Section]:
        """All that the run has something for."""
        history, found, run = self.history, self.summary, Shown.of(self.history)
        yield Section("Mixture", _thinned(history, run), [figures.mixture(run)], wide=True)
        if len(history.states) > 1:
            yield Section(
                "Against the prior",
                "Each weight divided by its prior; at 1 it is the prior.",
                [figures.against_prior(run)],
            )
        yield Section("Datasets", table=tables.datasets(history, found))
        if any(len(each.levels) > 1 for each in found.datasets):
            of = [Section(name, figures=[figures.levels(run, name)]) for name in run.names]
            text = "Levels are slices by difficulty, level 0 the easiest. Shares are of the weight of the dataset."
            yield Section("Levels", text, folded=[*of, Section("As a table", table=tables.levels(found))], wide=True)
        yield Section(
            "Shares",
            "What each dataset was asked for, and what it had of all that was trained on.",
            [bars.shares(run, found)],
        )
        yield Section(
            "Epochs",
            "How often the rows of each dataset were gone through, and how near that is to the cap.",
            [bars.epochs(run, found)],
        )
        if drawn := bars.capped(run):
            text = "When `max_epochs` lowered weights; the paler, the fewer levels of the dataset."
            yield Section("Capped", text, [drawn], folded=[Section("As a table", table=tables.capped(history))])
        yield from self._losses(run)
        yield from self._measured(run)
        yield from self._machinery(run)

    def _losses(self, run: Shown) -> Iterator[Section]:
        found = self.summary
        if drawn := figures.losses(run, found, training=False):
            stops = [stop.told(name) for name, stop in self.history.stopped.items()]
            yield Section("Held-out loss", self._overfitting(), [drawn], notes=stops)
        if drawn := figures.losses(run, found, training=True):
            yield Section("Training loss", "Means since the point before.", [drawn])

    def _overfitting(self) -> str:
        if not self.history.training:
            return "This trace has no training losses, so nothing can be said of overfitting."
        since = [(each.name, each.overfits_since) for each in self.summary.datasets if each.overfits_since is not None]
        if not since:
            return "No dataset overfits: no held-out loss rose by 1% while the training loss of its dataset fell."
        told = [f"{name} since step {step:,}" for name, step in since[:TOP]]
        more = f", and {len(since) - TOP} more" if len(since) > TOP else ""
        return (
            "Overfitting, as its held-out loss has risen by 1% or more while its training loss fell: "
            f"{', '.join(told)}{more}. A ring marks the lowest loss."
        )

    def _measured(self, run: Shown) -> Iterator[Section]:
        found = self.summary
        for (signal, held_out), drawn in figures.on_held_out(run).items():
            yield Section(f"Effects on {held_out}", f"{EFFECTS[signal]}. Bars are one standard error.", [drawn])
        if found.effects:
            yield Section("Last effects", table=tables.effects(found))
        drawn_signals = figures.signals(run)
        for signal, drawn in drawn_signals.items():
            yield Section(signal.replace("_", " ").capitalize(), tables.meaning(signal), [drawn])
        if drawn_signals:
            yield Section("Last signals", table=tables.signals(self.history))
        if found.row_weights and (weights := figures.row_weights(run)):
            yield Section(
                "Row weights",
                "The mean over the trained tokens of each dataset.",
                [weights],
                tables.row_weights(found.row_weights),
            )

    def _machinery(self, run: Shown) -> Iterator[Section]:
        about = self.history.about
        if drawn := figures.packing(run):
            yield Section("Packing", "How full the packed batches were so far.", [drawn])
        if drawn := figures.delay(run):
            text = "Rows that were drawn and not yet trained on when new weights came; they follow the old ones."
            yield Section("Delay", text, [drawn])
        if self.costs:
            text = "Wall time of each part of hbo, without preparing data and evaluations."
            yield Section("Costs", text, [bars.costs(self.costs[0])], tables.costs(*self.costs))
        if about.notes:
            yield Section("Notes", notes=about.notes)
        if about.config:
            table = tables.pairs("config", ["key", "value"], about.config)
            yield Section(
                "Configuration", "The `hbo:` block with its defaults.", folded=[Section("Every key", table=table)]
            )
        if about.versions:
            yield Section("Versions", table=tables.pairs("versions", ["package", "version"], about.versions))


def _course(change: Change) -> tuple[Cell, str]:
    first = tables.number(change.first, ".3f")
    return tables.number(change.last, ".3f"), f"from {first.text}"


def _thinned(history: History, run: Shown) -> str:
    text = "The weight of each dataset, one on the other. The bar is the prior."
    rest = len(history.datasets) - len(run.names)
    if rest:
        text += (
            f" Figures show the {TOP} datasets of the largest mean weight, and {rest} others as one; tables have all."
        )
    if len(history.states) > POINTS:
        text += f" Of {len(history.states):,} points, figures show {POINTS}, evenly."
    return text
