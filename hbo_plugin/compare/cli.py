"""The command `compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hbo_plugin.compare.study import A_FILE, COUNT, Study, of_study, read_yaml
from hbo_plugin.messages import encodable
from hbo_plugin.outputs import STDOUT, html_option, json_option, plot_option, write_json

if TYPE_CHECKING:
    from pathlib import Path


def _names(_: click.Context, option: click.Parameter, given: str) -> tuple[str, ...]:
    """From `hbo,static`."""
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if len({*names}) < len(names):
        msg = f"`{option.opts[0]} {given}` was given, but each method is compared once: change it."
        raise click.ClickException(msg)
    return names


@click.command()
@click.option(
    "--methods",
    default="",
    callback=_names,
    help="Methods to compare, as in hbo,branches; `axolotl` is a run without hbo.",
)
@click.option("--arms", type=A_FILE, help="A YAML file of more arms: by name, the keys of `hbo:` that differ.")
@click.option("--baseline", default="static", show_default=True, help="The arm that all are compared with.")
@click.option("--seeds", default=5, show_default=True, type=COUNT, help="Runs of each arm.")
@click.option("--steps", type=COUNT, help="A shorter stand-in, of so many steps.")
@click.option("--controls/--no-controls", default=True, help="Also train on each adaptive arm's own average weights.")
@of_study
@json_option
@plot_option
@html_option
def compare(
    study: Study,
    methods: tuple[str, ...],
    arms: Path | None,
    baseline: str,
    seeds: int,
    steps: int | None,
    json_to: Path | None,
    plot_to: Path | None,
    html_to: Path | None,
    *,
    controls: bool,
) -> None:
    """Make a run several ways with paired seeds, and judge them.

    CONFIG is the file that `axolotl train` gets, with an `hbo:` block and held-out rows. LAUNCHER_ARGUMENTS stand after
    `--` and go to the launcher. A run that has ended is not made again, and one that was killed goes on. The runs lie in
    `compare` in the folder of CONFIG, or where `--out` says.
    """
    # Axolotl takes seconds to import, which `--help` should not.
    from hbo_plugin.compare.arms import find_arms, told
    from hbo_plugin.compare.intervals import Intervals
    from hbo_plugin.compare.outcome import compared
    from hbo_plugin.compare.page import page
    from hbo_plugin.compare.plain import with_plain
    from hbo_plugin.compare.runs import planned
    from hbo_plugin.compare.terminal import comparison
    from hbo_plugin.compare.work import plan_of, shortened
    from hbo_plugin.report import html
    from hbo_plugin.report.terminal import show

    def whole() -> int:
        return plan_of(study.config, study.ranks).steps

    base, block = study.read()
    if steps:
        base, block = shortened(base, block, steps, whole())
    made = find_arms(block, methods, read_yaml(arms) if arms else {}, baseline, controls=controls)
    first = base.get("seed") or 0
    runs = planned(made, range(first, first + seeds), study.out or study.config.parent / "compare")
    runs = with_plain(runs, base, whole)
    for arm in made:
        click.echo(encodable(told(arm)), err=True)
    click.echo(f"{len(runs)} runs, of {len(made)} arms and {seeds} seeds.", err=True)
    if not study.train(runs, base):
        return
    found = compared(runs, baseline)
    if json_to != STDOUT:
        show(comparison(found))
    if json_to is not None:
        write_json(json_to, asdict(found))
    if plot_to is not None:
        Intervals.of(found).plot(plot_to)
    if html_to is not None:
        html.write(page(found, made, base), html_to)
