"""The command `compare`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hbo_plugin.messages import encodable, listed
from hbo_plugin.outputs import STDOUT, json_option, plot_option, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.compare.runs import PlannedRun

_LAUNCHERS = click.Choice(["accelerate", "torchrun", "python"])
_A_FOLDER = click.Path(file_okay=False, path_type=Path)
_A_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COUNT = click.IntRange(min=1)


def _names(_: click.Context, option: click.Parameter, given: str) -> tuple[str, ...]:
    """From `hbo,static`."""
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if len({*names}) < len(names):
        msg = f"`{option.opts[0]} {given}` was given, but each method is compared once: change it."
        raise click.ClickException(msg)
    return names


@click.command()
@click.argument("config", type=_A_FILE)
@click.argument("launcher_arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--methods", default="", callback=_names, help="Methods to compare, as in hbo,branches.")
@click.option(
    "--arms", "arms_file", type=_A_FILE, help="A YAML file of more arms: by name, the keys of `hbo:` that differ."
)
@click.option("--baseline", default="static", show_default=True, help="The arm that all are compared with.")
@click.option("--seeds", default=5, show_default=True, type=_COUNT, help="Runs of each arm.")
@click.option(
    "--out", type=_A_FOLDER, help="Folder of the runs; if unset, `compare` in the folder of the configuration."
)
@click.option("--steps", type=_COUNT, help="A shorter stand-in, of so many steps.")
@click.option("--base-model", help="A smaller model as a stand-in.")
@click.option("--controls/--no-controls", default=True, help="Also train on each adaptive arm's own average weights.")
@click.option("--jobs", default=1, show_default=True, type=_COUNT, help="Runs at once, each on a GPU of its own.")
@click.option("--list", "lists", is_flag=True, help="Train nothing: print a command for each run that can begin.")
@click.option("--only", metavar="RUN", help="Train one run, by its name in `--list`.")
@click.option(
    "--launcher", default="accelerate", show_default=True, type=_LAUNCHERS, help="As `axolotl train` takes it."
)
@click.option("--ranks", default=1, show_default=True, type=_COUNT, help="How many ranks a run has.")
@click.option("--keep-models", is_flag=True, help="Keep what the runs have trained; else their weights are removed.")
@json_option
@plot_option
def compare(config: Path, **options: Any) -> None:
    """Make a run several ways, with paired seeds, and say which is better.

    CONFIG is the file that `axolotl train` gets, with an `hbo:` block and held-out rows. LAUNCHER_ARGUMENTS stand after
    `--` and go to the launcher. A run that has ended is not made again, and one that was killed goes on.
    """
    environment = dict(os.environ)  # before Axolotl adds to it
    try:
        # Axolotl takes seconds to import, which `--help` should not.
        _compare(config, environment, **options)
    except (OSError, ValueError) as error:
        raise click.ClickException(encodable(str(error))) from error


def _compare(
    config: Path,
    environment: dict[str, str],
    *,
    launcher_arguments: tuple[str, ...],
    methods: tuple[str, ...],
    arms_file: Path | None,
    baseline: str,
    seeds: int,
    out: Path | None,
    steps: int | None,
    base_model: str | None,
    controls: bool,
    jobs: int,
    lists: bool,
    only: str | None,
    launcher: str,
    ranks: int,
    keep_models: bool,
    json_to: Path | None,
    plot_to: Path | None,
) -> None:
    from hbo_plugin.compare.arms import find_arms, told
    from hbo_plugin.compare.outcome import compared
    from hbo_plugin.compare.runs import Launch, planned
    from hbo_plugin.compare.work import Work, cards, look_at, shortened, steps_of

    on = cards(jobs)
    base = _read(config)
    if "hbo" not in base:
        msg = f"`{config}` has no `hbo:` block; add one, which may be empty, and `plugins: [hbo_plugin.HBOPlugin]`."
        raise ValueError(msg)
    block = base.pop("hbo") or {}
    base.update({"base_model": base_model} if base_model else {})
    if steps:
        base, block = shortened(base, block, steps, steps_of(config, ranks))
    arms = find_arms(block, methods, _read(arms_file) if arms_file else {}, baseline, controls=controls)
    first = base.get("seed") or 0
    runs = planned(arms, range(first, first + seeds), out or config.parent / "compare")
    if lists:
        _list(runs)
        return
    if only:
        chosen = _chosen(runs, only)
    else:
        chosen = runs
        for arm in arms:
            click.echo(encodable(told(arm)), err=True)
        click.echo(f"{len(runs)} runs, of {len(arms)} arms and {seeds} seeds.", err=True)
        look_at(runs, base, ranks)
    work = Work(chosen, base, Launch(launcher, launcher_arguments, environment, keep_models))
    work.train(on)
    if not only:
        _show(compared(runs, baseline), json_to, plot_to)
    if work.failed:
        click.get_current_context().exit(1)


def _show(found: Comparison, json_to: Path | None, plot_to: Path | None) -> None:
    from hbo_plugin.compare.plot import plot
    from hbo_plugin.compare.terminal import comparison
    from hbo_plugin.report.terminal import show

    if json_to != STDOUT:
        show(comparison(found))
    if json_to is not None:
        write_json(json_to, asdict(found))
    if plot_to is not None:
        plot(found, plot_to)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        msg = f"`{path}` is not YAML: {error}"
        raise ValueError(msg) from error
    if not isinstance(found, dict):
        msg = f"`{path}` holds no keys with values; give a file that does."
        raise ValueError(msg)  # noqa: TRY004 what a user gave is wrong
    return found


def _list(runs: Sequence[PlannedRun]) -> None:
    """Print what trains each run that can begin: this command, with `--only`."""
    from hbo_plugin.compare.runs import is_finished

    words = [word for word in sys.orig_argv if word != "--list"]
    end = words.index("--") if "--" in words else len(words)
    left = [run for run in runs if not is_finished(run.folder)]
    for run in left:
        if run.ready:
            click.echo(encodable(shlex.join([*words[:end], "--only", run.name, *words[end:]])))
    if waiting := sum(not run.ready for run in left):
        click.echo(f"{waiting} more wait for the runs whose weights they draw by.", err=True)


def _chosen(runs: Sequence[PlannedRun], name: str) -> list[PlannedRun]:
    chosen = [run for run in runs if run.name == name]
    if not chosen:
        msg = f"`--only {name}` was given, but the runs are {listed(run.name for run in runs)}: choose one of these."
        raise ValueError(msg)
    if not chosen[0].ready:
        msg = f"`--only {name}` was given, but it draws by the weights of `{chosen[0].replayed}`, which has not ended; train that first."
        raise ValueError(msg)
    return chosen
