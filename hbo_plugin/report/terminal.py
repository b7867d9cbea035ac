"""What a terminal shows of a run: 80 columns are enough, and names are shown as they are."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from hbo_plugin.messages import encodable, listed
from hbo_plugin.report.effects import by_pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hbo_plugin.report.effects import Effect
    from hbo_plugin.report.rows import DrawnRow, WeighedRow
    from hbo_plugin.report.summary import Change, RowWeightSummary, Summary

COLUMNS = 80

EFFECTS = {
    "branch_effect": "Loss of a held-out set after a branch with a dataset, less that as the run was, in nats",
    "transfer": "How much of a held-out set's drop each dataset shares: 1 all of it, 0 nothing, below 0 it loses",
}


def show(content: RenderableType) -> None:
    """Print to stdout: plain text of 80 columns where that is no terminal, and `?` for what its encoding lacks."""
    console = Console() if sys.stdout.isatty() else Console(width=COLUMNS, force_terminal=False)
    with console.capture() as captured:
        console.print(content)
    sys.stdout.write(encodable(captured.get()))
    sys.stdout.flush()


def literal(text: str) -> Text:
    """Text without markup; what would move the cursor is spelled out, and a long name goes on in the next line."""
    spelled = (repr(each)[1:-1] if unicodedata.category(each) == "Cc" else each for each in text)
    return Text("".join(spelled), overflow="fold")


def title(text: str) -> Text:
    """A line above a table."""
    return Text(text, style="bold")


def table(headers: Iterable[str], names: str = "dataset") -> Table:
    """Return an empty table: names in the first column, which gives way to the numbers in the others."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column(names, overflow="fold", min_width=8)
    for header in headers:
        made.add_column(header, justify="right", no_wrap=True)
    return made


def summaries(found: Mapping[str, Summary]) -> RenderableType:
    """Render the mixture of a run; or of several by their names, one after the other, and what they came to."""
    if len(found) == 1:
        return summary(*found.values())
    made = table(["steps", "rows", "held-out loss of the target"], "run")
    for name, each in found.items():
        target = _changed(each.target_loss, ".3f") if each.target_loss else ""
        made.add_row(literal(name), f"{each.step:,}", f"{each.rows_trained:,}", target)
    parts = [
        part
        for name, each in found.items()
        for part in (Text.assemble(literal(name), style="bold"), summary(each), "", "")
    ]
    return Group(*parts, title("The runs together"), made)


def summary(found: Summary) -> RenderableType:
    """Render the mixture of a run, first against last."""
    parts: list[RenderableType] = [
        title(f"The mixture after {found.step:,} steps, {found.rows_trained:,} rows trained on"),
        _datasets(found),
    ]
    if found.target_loss:
        parts += ["", f"Held-out loss of the target: {_changed(found.target_loss, '.3f')}"]
    if capped := [dataset.name for dataset in found.datasets if dataset.capped]:
        parts += ["", literal(f"`max_epochs` lowers the weight of {listed(capped)}.")]
    if stopped := [dataset.stopped.told(dataset.name) for dataset in found.datasets if dataset.stopped]:
        parts += ["", *(literal(f"{told}.") for told in stopped)]
    if overfitting := [
        f"`{each.name}` since step {each.overfits_since:,}"
        for each in found.datasets
        if each.overfits_since is not None
    ]:
        parts += ["", literal(f"Held-out loss has risen while training loss fell: {', '.join(overfitting)}.")]
    if found.effects:
        parts += ["", title(EFFECTS[found.effects[-1].signal]), _effects(found.effects)]
    if found.row_weights:
        parts += ["", title("Row weights, when they were first told and last"), _row_weights(found.row_weights)]
    if any(len(dataset.levels) > 1 for dataset in found.datasets):
        parts += ["", title("Weights of the levels within each dataset, the easiest first"), _levels(found)]
    if not found.ended:
        parts += [
            "",
            f"This run has not ended: it still trains, or it was stopped. Its trace reaches step {found.step:,}.",
        ]
    return Group(*parts)


def rows(found: Iterable[DrawnRow]) -> RenderableType:
    """Render where each row is, and the file of each dataset."""
    made, paths = table(["step", "place", "level", "row", "row of\nthe file"]), {}
    for row in found:
        numbers = (row.step, row.place, row.level, row.row, row.raw_row)
        made.add_row(literal(row.dataset), *map(str, numbers))
        paths[row.dataset] = row.entry["path"]
    return Group(made, "", *(literal(f"{name}: {path}") for name, path in paths.items()))


def contents(found: Iterable[DrawnRow | WeighedRow], read: Iterable[dict[str, Any] | None]) -> RenderableType:
    """Render what stands in each row."""
    parts: list[RenderableType] = []
    for row, content in zip(found, read, strict=True):
        heading = f"{row.told}: {row.dataset}, level {row.level}, row {row.raw_row} of {row.entry['path']}"
        lines = json.dumps(content, ensure_ascii=False, indent=1).split("\n")
        parts += [Text.assemble(literal(heading), style="bold"), *map(literal, lines), ""]
    return Group(*parts)


def _datasets(found: Summary) -> Table:
    tested = any(dataset.held_out_loss for dataset in found.datasets)
    headers = ["rows", "weight", "row\nshare", "token\nshare", "epochs"]
    made = table([*headers, "held-out loss"] if tested else headers)
    for dataset in found.datasets:
        cells = [
            f"{dataset.rows:,}",
            _changed(dataset.weight, ".1%"),
            f"{dataset.row_share:.1%}",
            f"{dataset.token_share:.1%}",
            f"{dataset.epochs:.2f}",
        ]
        if tested:
            cells.append(_changed(dataset.held_out_loss, ".3f") if dataset.held_out_loss else "")
        made.add_row(literal(dataset.name), *cells)
    return made


def _effects(found: Iterable[Effect]) -> Table:
    """A row for each dataset and held-out set: the newest value and its error, and the first where there are several."""
    made = table(["held-out set", "at step", "value", "first value"])
    for (_, dataset, held_out), measured in by_pair(found).items():
        first, last = measured[0], measured[-1]
        before = _with_error(first) if first is not last else ""
        made.add_row(literal(dataset), literal(held_out), f"{last.step:,}", _with_error(last), before)
    return made


def _with_error(effect: Effect) -> str:
    return f"{effect.value:+.3f}" + ("" if effect.error is None else f" ± {effect.error:.3f}")


def _row_weights(found: RowWeightSummary) -> Group:
    """The mean of each dataset, and what is told of single rows."""
    made = table(["mean weight"])
    for name, mean in found.datasets.items():
        made.add_row(literal(name), _changed(mean, ".3f"))
    told = [
        f"spread of single rows {_changed(found.std, '.3f')}",
        f"effective share of the rows {_changed(found.effective, '.1%')}",
    ]
    if found.with_loss.last is not None:
        told.append(f"correlation with the loss {_changed(found.with_loss, '+.2f')}")
    return Group(made, "", f"{'; '.join(told)}.".capitalize())


def _levels(found: Summary) -> Table:
    made = table(["first → last"])
    for dataset in found.datasets:
        first, last = (
            " ".join(f"{share:3.0%}" for share in shares)
            for shares in zip(*((level.first, level.last) for level in dataset.levels), strict=True)
        )
        gap = "\n" if len(first) > COLUMNS // 4 else " "
        made.add_row(literal(dataset.name), f"{first}{gap}→ {last}")
    return made


def _changed(change: Change, form: str) -> str:
    first, last = ("nan" if value is None else format(value, form) for value in (change.first, change.last))
    return f"{first} → {last}"
