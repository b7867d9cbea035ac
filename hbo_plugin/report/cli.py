"""The commands `report` and `rows`, which read what a run wrote."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hbo_plugin.history import LOWEST, History
from hbo_plugin.messages import encodable, listed
from hbo_plugin.outputs import STDOUT, html_option, json_option, plot_option, write_json
from hbo_plugin.report import html, several, terminal
from hbo_plugin.report.plot import plot
from hbo_plugin.report.rows import DrawnRow, contents, drawn_rows, lowest_rows
from hbo_plugin.report.sections import RunPage
from hbo_plugin.report.weights import as_yaml
from hbo_plugin.trace import ROWS_FILE, TRACE_FILE, JsonLines, Trace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

output_dir_argument = click.argument("output_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.command()
@click.argument(
    "output_dirs",
    metavar="OUTPUT_DIR...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option(
    "--weights", is_flag=True, help="Print the weights as YAML to paste, the mean of the last half of the run."
)
@click.option("--last", is_flag=True, help="With --weights: print those of the last step.")
@click.option(
    "--lowest",
    type=click.IntRange(1, LOWEST),
    help="Print so many rows of the lowest row weights; needs the files of the datasets.",
)
@json_option
@plot_option
@html_option
def report(
    output_dirs: tuple[Path, ...],
    json_to: Path | None,
    plot_to: Path | None,
    html_to: Path | None,
    lowest: int | None,
    *,
    weights: bool,
    last: bool,
) -> None:
    """Show the mixture of a run, first against last.

    Several runs are shown one after the other, and together. OUTPUT_DIR is the `output_dir` of a run with `hbo:`, whether it has ended, was stopped or still trains.
    """
    if last and not weights:
        msg = "`--last` was given, but it says which weights `--weights` prints; give both, or neither."
        raise click.ClickException(msg)
    _refuse_several(output_dirs, {"--weights": weights, "--lowest": lowest, "--plot": plot_to})
    try:
        runs = [RunPage.read(folder) for folder in output_dirs]
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    history = runs[0].history
    if json_to != STDOUT and weights:
        click.echo(encodable(as_yaml(history, last=last)))
    elif json_to != STDOUT and lowest:
        _show_lowest(history, lowest)
    elif json_to != STDOUT:
        terminal.show(terminal.summaries({run.name: run.summary for run in runs}))
    if json_to is not None:
        all_of_them = {"runs": [{"output_dir": run.name, **asdict(run.summary)} for run in runs]}
        write_json(json_to, all_of_them if len(runs) > 1 else asdict(runs[0].summary))
    if plot_to is not None:
        plot(history, plot_to)
    if html_to is not None:
        html.write(several.page(runs), html_to)


def _refuse_several(folders: Sequence[Path], options: Mapping[str, object]) -> None:
    given = [f"`{option}`" for option, value in options.items() if value]
    if len(folders) > 1 and given:
        msg = f"{given[0]} was given with {len(folders)} runs, but it shows one: name one run."
        raise click.ClickException(msg)


def _show_lowest(history: History, count: int) -> None:
    try:
        rows = lowest_rows(history, count)
        terminal.show(terminal.contents(rows, contents(rows, "--lowest")))
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


def _steps(_: click.Context, option: click.Parameter, given: str | None) -> range | None:
    """From `120` or `100-120`."""
    if given is None:
        return None
    numbers = re.fullmatch(r"(\d{1,18})(?:-(\d{1,18}))?", given, re.ASCII)
    steps = range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1) if numbers else range(0)
    if not steps:
        msg = f"`{option.opts[0]} {given}` was given, but a step is a number, and several are written as in 100-120: change it."
        raise click.ClickException(msg)
    return steps


@click.command()
@output_dir_argument
@click.option(
    "--step", "steps", metavar="STEP", callback=_steps, help="A step, or several as in 100-120; else the last."
)
@click.option("--dataset", help="Show the rows of this dataset only.")
@click.option("--text", is_flag=True, help="Show what stands in each row; needs the files of the datasets.")
@json_option
def rows(output_dir: Path, steps: range | None, dataset: str | None, *, text: bool, json_to: Path | None) -> None:
    """Show the rows of a step, and where they are in your files.

    OUTPUT_DIR is the `output_dir` of a run with `hbo: {record_rows: true}`. Rows of a file count from 1.
    """
    try:
        found = _drawn(output_dir, steps, dataset)
        read = contents(found, "--text") if text else None
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if json_to != STDOUT:
        terminal.show(terminal.rows(found) if read is None else terminal.contents(found, read))
    if json_to is not None:
        records = [asdict(row) for row in found]
        for record, content in zip(records, read or [], strict=False):
            record["content"] = content
        write_json(json_to, {"rows": records})


def _drawn(output_dir: Path, steps: range | None, dataset: str | None) -> list[DrawnRow]:
    """The rows of these steps and this dataset."""
    datasets = Trace(output_dir / TRACE_FILE).history().datasets
    if dataset not in {None, *datasets}:
        msg = f"`--dataset {dataset}` was given, but the datasets are {listed(datasets)}: choose one of these."
        raise ValueError(msg)
    path = output_dir / ROWS_FILE
    recorded = [record["step"] for record in JsonLines(path).records()]
    found = [*drawn_rows(output_dir, steps or recorded[-1:])]
    if not recorded:
        msg = f"`{path}` holds no step yet: wait for the first, or choose another run."
        raise ValueError(msg)
    if steps and not found:
        given = f"{steps[0]}-{steps[-1]}" if len(steps) > 1 else str(steps[0])
        msg = (
            f"`--step {given}` was given, but `{path}` has {len(recorded)} steps, "
            f"from {recorded[0]} to {recorded[-1]}: choose some of these."
        )
        raise ValueError(msg)
    return [row for row in found if dataset in {None, row.dataset}]
