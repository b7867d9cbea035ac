"""The command `bench scale`: what one rank of many pays for its share of the stream, and how that grows."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from hbo_plugin.bench.report import environment, human, wide_console
from hbo_plugin.bench.scale_plan import FULL, QUICK
from hbo_plugin.outputs import STDOUT, json_option, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hbo_plugin.bench.scale_plan import Figure


@click.command()
@click.option("--quick", is_flag=True, help="Fewer and smaller runs: some seconds.")
@json_option
def scale(*, quick: bool, json_to: Path | None) -> None:
    """Measure what one rank of many pays to draw and pack its share."""
    try:
        from hbo_plugin.bench.scale_cases import figures, refusals
    except ModuleNotFoundError as error:
        msg = (
            f"`{error.name}`, which shares batches out over ranks, is not installed, but `scale` measures it; "
            f"install Axolotl."
        )
        raise click.ClickException(msg) from error
    errors = Console(stderr=True)
    with errors.status("imports") as status:
        found = list(figures(QUICK if quick else FULL, status.update))
    refused = [{"asked": asked, "message": message} for asked, message in refusals()]
    where = environment()
    if json_to != STDOUT:
        console = wide_console()
        console.print(*_tables(found), sep="\n")
        for each in refused:
            console.print(f"{each['asked']}: {each['message']}", highlight=False, markup=False)
        console.print(", ".join(f"{key} {value}" for key, value in where.items() if value is not None))
    if json_to is not None:
        write_json(json_to, {"rows": [asdict(each) for each in found], "refused": refused, "environment": where})


def _tables(found: Sequence[Figure]) -> Iterator[Table]:
    """A table a question."""
    for question, group in groupby(sorted(found, key=lambda each: each.question), key=lambda each: each.question):
        table = Table(title=question, title_justify="left", title_style="bold")
        for header in ("ranks", "rows", "cells", "what", "median", "least .. greatest", "note"):
            table.add_column(header, justify="left" if header in {"what", "note"} else "right")
        for each in group:
            value = "" if each.value is None else human(each.value, each.unit)
            spread = " .. ".join(human(value, each.unit) for value in each.spread or ())
            size = (f"{number:,}" for number in (each.ranks, each.rows, each.cells))
            table.add_row(*size, each.name, value, spread, each.note)
        yield table
