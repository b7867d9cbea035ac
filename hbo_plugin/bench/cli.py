"""The command `bench`, with `bench packing` and `bench scale`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hbo_plugin import _sampler
from hbo_plugin.bench.measure import Plan, Row, measure
from hbo_plugin.bench.memory import memory
from hbo_plugin.bench.packing_cases import packing
from hbo_plugin.bench.peers import CONTENDERS
from hbo_plugin.bench.plot import plot as draw_picture
from hbo_plugin.bench.report import publish
from hbo_plugin.bench.sampler_cases import sampler_cases
from hbo_plugin.bench.scale import scale
from hbo_plugin.outputs import json_option, plot_option

if TYPE_CHECKING:
    from pathlib import Path

FULL = Plan(repeats=5, seconds=0.1, patience=1, memory=6e9)
FULL_SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
FULL_DRAWS = ((256, 1024), (65_536, 1024))
QUICK = Plan(repeats=5, seconds=0.02, patience=1, memory=1e9)
QUICK_SIZES = (10**5, 10**7, 10**9)


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Fewer sizes and shorter repeats: within a minute.")
@json_option
@plot_option
@click.pass_context
def bench(context: click.Context, *, quick: bool, json_to: Path | None, plot_to: Path | None) -> None:
    """Measure the sampler against named peers, on this machine."""
    if _sampler.build_profile != "release":
        msg = f"hbo_plugin._sampler is a `{_sampler.build_profile}` build, whose timings say nothing; build it with `maturin develop --release`, or install the wheel."
        raise click.ClickException(msg)
    if context.invoked_subcommand is None:
        rows = _run(quick=quick)
        publish(rows, json_to)
        if plot_to is not None:
            draw_picture(rows, plot_to)


bench.add_command(packing)
bench.add_command(scale)


def _run(*, quick: bool) -> list[Row]:
    """The rows of the sampler's cases; what is being measured shows on stderr."""
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("imports", total=None)

        def say(what: str) -> None:
            progress.update(bar, description=what)

        plan, sizes = (QUICK, QUICK_SIZES) if quick else (FULL, FULL_SIZES)
        cases = sampler_cases(sizes, sizes[1:2] if quick else sizes, FULL_DRAWS[:1] if quick else FULL_DRAWS)
        return [
            *measure(cases, CONTENDERS, plan, say),
            *memory(sizes[-1:] if quick else sizes[2:], CONTENDERS, plan, say),
        ]
