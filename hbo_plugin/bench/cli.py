"""The commands: `python -m hbo_plugin.bench`, and `axolotl hbo-bench`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

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

FULL = Plan(repeats=5, seconds=0.1, patience=1, memory=6e9)
FULL_SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)
FULL_DRAWS = ((256, 1024), (65_536, 1024))
QUICK = Plan(repeats=5, seconds=0.02, patience=1, memory=1e9)
QUICK_SIZES = (10**5, 10**7, 10**9)


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Fewer sizes and shorter repeats: within a minute.")
@click.option(
    "--json", "json_to", type=click.Path(dir_okay=False), help="Write rows, headline and environment; - is stdout."
)
@click.option("--plot", "plot_to", type=click.Path(dir_okay=False), help="Write a picture; needs matplotlib.")
@click.pass_context
def main(context: click.Context, *, quick: bool, json_to: str | None, plot_to: str | None) -> None:
    """Measure the sampler against named peers, in this process and on this machine."""
    if _sampler.build_profile != "release":
        msg = f"hbo_plugin._sampler is a `{_sampler.build_profile}` build, whose timings say nothing; build it with `maturin develop --release`, or install the wheel."
        raise click.ClickException(msg)
    if context.invoked_subcommand is None:
        _check_outputs(json_to, plot_to)
        rows = _run(quick=quick)
        publish(rows, json_to)
        if plot_to:
            draw_picture(rows, Path(plot_to))


main.add_command(packing)


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


def _check_outputs(json_to: str | None, plot_to: str | None) -> None:
    """Refuse before the measuring, not after it."""
    for option, path in (("--json", json_to), ("--plot", plot_to)):
        if path and not Path(path).parent.is_dir():
            msg = f"`{option}` is `{path}`, and the folder `{Path(path).parent}` does not exist; make it first."
            raise click.ClickException(msg)
    if plot_to and find_spec("matplotlib") is None:
        msg = "`--plot` needs matplotlib, which is not installed; install it with `pip install 'axolotl-hbo[plot]'`."
        raise click.ClickException(msg)
