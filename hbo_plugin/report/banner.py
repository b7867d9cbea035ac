"""The banner: what a run is about to train on, and how its weights will change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.report.terminal import literal, table, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


@dataclass(frozen=True)
class BannerDataset:
    """One line of the banner.

    Attributes:
        name: as in the configuration.
        raw_rows: rows of the source; None where nobody counted them.
        rows: rows to train on.
        mean_length: tokens a row.
        asked: weight that the method asks for.
        weight: the weight in force, which the cap on repetition may have changed.
        held_out: rows that are not trained on.
    """

    name: str
    raw_rows: int | None
    rows: int
    mean_length: float
    asked: float
    weight: float
    held_out: int


@dataclass(frozen=True)
class Banner:
    """What a run shows before it trains.

    Attributes:
        method: its name.
        levels: a dataset.
        difficulty: what levels are cut by.
        datasets: one line each.
        unit: what weights are shares of, as `hbo.unit` has it.
        signals: what the weights follow, by where it comes from; nothing where they are fixed.
        moments: when they do, in words.
        step: optimizer steps made so far; above 0 the run resumes.
        steps: of the whole run.
        row_weights: what weighs the rows, in words; empty where nothing does.
        batch: the shape of a packed batch, in words; empty without packing.
        notes: what the user should know, a sentence each.
    """

    method: str
    levels: int
    difficulty: str
    datasets: Sequence[BannerDataset]
    unit: str
    signals: dict[str, Sequence[str]]
    moments: str
    step: int
    steps: int
    row_weights: str = ""
    batch: str = ""
    notes: Sequence[str] = ()

    def __rich__(self) -> RenderableType:
        """Render it, on a line of its own: a progress bar may have left the cursor in the middle of one."""
        lines = [self._course(), self._weights()]
        if self.row_weights:
            lines.append(f"Row weights: {self.row_weights}.")
        if self.batch:
            lines.append(f"Rows are packed into {self.batch}.")
        return Group(
            "",
            self._title(),
            self._table(),
            *map(literal, lines),
            *(literal(f"Note: {note}") for note in self.notes),
            "",
        )

    def _title(self) -> RenderableType:
        cut = f", {self.levels} levels a dataset by {self.difficulty}" if self.levels > 1 else ""
        return title(f"The mixture by the method {self.method}{cut}")

    def _table(self) -> RenderableType:
        made = table(["rows", "tokens a row", "weight", "held-out rows"])
        for dataset in self.datasets:
            dropped = dataset.raw_rows not in {None, dataset.rows}
            made.add_row(
                literal(dataset.name),
                f"{dataset.raw_rows:,} → {dataset.rows:,}" if dropped else f"{dataset.rows:,}",
                f"{dataset.mean_length:,.0f}",
                _weight(dataset),
                f"{dataset.held_out:,}",
            )
        return made

    def _course(self) -> str:
        return f"Resumes at step {self.step:,} of {self.steps:,}." if self.step else f"Trains for {self.steps:,} steps."

    def _weights(self) -> str:
        shares = f"Weights are shares of {self.unit.replace('_', ' ')}s"
        followed = [f"{', '.join(names)} from {source}" for source, names in self.signals.items() if names]
        if not followed:
            return f"{shares}, and they are fixed."
        return f"{shares}. {self.moments} they follow {' and '.join(followed)}."


def _weight(dataset: BannerDataset) -> str:
    """The weight in force, and before it what the cap made of it where one acts."""
    asked, weight = f"{dataset.asked:.1%}", f"{dataset.weight:.1%}"
    return weight if asked == weight else f"{asked} → {weight}"
