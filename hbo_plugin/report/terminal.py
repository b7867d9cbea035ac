"""What the user sees: a banner at the start, a table of weights and shares at the end, and a picture of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from hbo_plugin.signals.sources import SOURCES

if TYPE_CHECKING:
    from pathlib import Path

    from hbo_plugin.training.run import Run


def show(content: RenderableType) -> None:
    """Print to the terminal, or as plain text to a file, where a line must not be cut."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(content)


def banner(run: Run, steps: int) -> RenderableType:
    """Datasets, levels, rows and first weights of a run of `steps` optimizer steps."""
    cells, config, method = run.data.cells, run.config, run.balancer.method
    table = Table(title=f"hbo: {run.balancer.method_name}, difficulty by {config.difficulty}")
    for header in ("dataset", "rows", "rows by level", "tokens a row", "weight", "held out"):
        table.add_column(header, justify="left" if header == "dataset" else "right")
    for index, (name, weights) in enumerate(zip(cells.names, run.balancer.weights(), strict=True)):
        rows = cells.dataset_rows(index)
        table.add_row(
            name,
            f"{len(rows):,}",
            " ".join(map(str, cells.sizes[index])),
            f"{cells.lengths[rows.start : rows.stop].mean():.0f}",
            f"{weights.sum():.1%}",
            str(len(run.data.held_out_rows.get(name, ()))),
        )
    if method.signals:
        signals = " and ".join(
            f"{' and '.join(names)} from {SOURCES[source][1]}" for source, names in run.choice.names.items()
        )
        plan = f"{signals}, every {config.update_every} of {steps} steps"
    else:
        plan = f"fixed for all {steps} steps"
    lines = [f"weights: {plan}; shares of {config.unit}s"]
    if run.shape.bins is not None:
        bins = run.shape.bins
        lines.append(f"packed: {bins.bins_per_batch} x {bins.capacity:,} tokens a batch, {bins.window} rows may wait")
    return Group(table, *lines, *(f"note: {note}" for note in (*run.data.notes, *run.choice.notes)))


def summary(trace: list[dict[str, Any]]) -> RenderableType:
    """The mixture of a run, first against last, from the records of its trace; held-out losses where it has them."""
    weighed = [record for record in trace if "weights" in record]
    tested = [record["held_out"] for record in trace if "held_out" in record]
    if not weighed:
        return "hbo: the trace is empty; nothing was trained."
    first, last = weighed[0], weighed[-1]
    table = Table(title=f"hbo: the mixture after {last['step']} steps, {last['position']:,} rows")
    headers = ["dataset", "rows", "weight", "levels, first", "levels, last", "share of rows", "of tokens", "epochs"]
    for header in headers + (["held-out loss"] if tested else []):
        table.add_column(header, justify="left" if header == "dataset" else "right")
    trained, tokens = (sum(sum(cells) for cells in last[unit].values()) for unit in ("rows_trained", "tokens"))
    for name, weights in last["weights"].items():
        begun, drawn, rows = first["weights"][name], sum(last["rows_trained"][name]), sum(last["rows"][name])
        cells = [
            name,
            f"{rows:,}",
            f"{sum(begun):.1%} → {sum(weights):.1%}",
            _levels(begun),
            _levels(weights),
            f"{drawn / max(1, trained):.1%}",
            f"{sum(last['tokens'][name]) / max(1, tokens):.1%}",
            f"{drawn / rows:.2f}",
        ]
        if tested:
            losses = [record[name] for record in (tested[0], tested[-1]) if name in record]
            cells.append(" → ".join(f"{loss:.3f}" for loss in losses))
        table.add_row(*cells)
    return table


def _levels(weights: list[float]) -> str:
    """The levels' shares of their dataset, in percent."""
    return " ".join(f"{weight / max(1e-300, sum(weights)):.0%}" for weight in weights)


def plot(trace: list[dict[str, Any]], path: Path) -> None:
    """Draw the weight of each dataset over the steps of a run; needs matplotlib, from the extra `plot`."""
    from matplotlib.figure import Figure

    weighed = [record for record in trace if "weights" in record]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="optimizer step", ylabel="weight", ylim=(0, 1))
    steps = [record["step"] for record in weighed]
    names = list(weighed[0]["weights"])
    shares = [[sum(record["weights"][name]) for record in weighed] for name in names]
    axes.stackplot(steps, shares, labels=names, step="post")
    figure.legend(loc="outside right upper", reverse=True)
    figure.savefig(path)
