"""The command `check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from hbo_plugin.outputs import STDOUT, json_option, write_json


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--ranks", type=click.IntRange(min=1), default=1, help="How many ranks will train: GPUs, as a rule.")
@json_option
@click.pass_context
def check(context: click.Context, config: Path, ranks: int, json_to: Path | None) -> None:
    """Show what a run will do, before it trains.

    CONFIG is the file that `axolotl train` gets. It takes no GPU, and no weights of the model. The data are prepared
    where they are not yet. The exit code is 1 where training would refuse.
    """
    # Axolotl takes seconds to import, which `--help` should not.
    from hbo_plugin.check import terminal
    from hbo_plugin.check.look import look
    from hbo_plugin.report.terminal import show

    found = look(config, ranks)
    if json_to != STDOUT:
        show(terminal.findings(found, config))
    if json_to is not None:
        write_json(json_to, asdict(found))
    context.exit(1 if found.refusals else 0)
