"""The command `report`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hbo_plugin.outputs import STDOUT, json_option, plot_option, write_json
from hbo_plugin.report import terminal
from hbo_plugin.report.plot import plot
from hbo_plugin.report.summary import summarise
from hbo_plugin.trace import TRACE_FILE, Trace


@click.command()
@click.argument("output_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
@plot_option
def report(output_dir: Path, json_to: Path | None, plot_to: Path | None) -> None:
    """Show the mixture of a run, first against last.

    OUTPUT_DIR is the `output_dir` of a run with `hbo:`, whether it has ended, was stopped or still trains.
    """
    try:
        history = Trace(output_dir / TRACE_FILE).history()
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    found = summarise(history)
    if json_to != STDOUT:
        terminal.show(terminal.summary(found))
    if json_to is not None:
        write_json(json_to, asdict(found))
    if plot_to is not None:
        plot(history, plot_to)
