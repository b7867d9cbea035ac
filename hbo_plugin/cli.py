"""Commands that `axolotl` gains: `axolotl hbo-report`."""

from pathlib import Path

import click

from hbo_plugin.report import terminal
from hbo_plugin.trace import TRACE_FILE, Trace


@click.command()
@click.argument("output_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the weights over the run.")
def report(output_dir: Path, plot: Path | None) -> None:
    """Show the mixture of the run in OUTPUT_DIR, first against last, finished or not."""
    try:
        trace = Trace(output_dir / TRACE_FILE).read()
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    if not trace:
        msg = f"`{output_dir}` holds no `{TRACE_FILE}`: name the `output_dir` of a run with `hbo:`."
        raise click.ClickException(msg)
    terminal.show(terminal.summary(trace))
    if plot is not None:
        terminal.plot(trace, plot)
