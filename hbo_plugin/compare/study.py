"""A study: a configuration of which several runs are made, and how a command was told to start them."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hbo_plugin import kinds
from hbo_plugin.messages import encodable, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hbo_plugin.check.plan import Plan
    from hbo_plugin.compare.runs import PlannedRun

A_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COUNT = click.IntRange(min=1)
_OPTIONS = (
    click.argument("config", type=A_FILE),
    click.argument("launcher_arguments", nargs=-1, type=click.UNPROCESSED),
    click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the runs."),
    click.option("--base-model", help="A smaller model as a stand-in."),
    click.option("--jobs", default=1, show_default=True, type=COUNT, help="Runs at once, each on a GPU of its own."),
    click.option("--list", "lists", is_flag=True, help="Train nothing: print a command for each run that can begin."),
    click.option("--only", metavar="RUN", help="Train one run, by its name in `--list`."),
    click.option(
        "--launcher",
        default="accelerate",
        show_default=True,
        type=click.Choice(["accelerate", "torchrun", "python"]),
        help="As `axolotl train` takes it.",
    ),
    click.option("--ranks", default=1, show_default=True, type=COUNT, help="How many ranks a run has."),
    click.option(
        "--keep-models", is_flag=True, help="Keep what the runs have trained; else their weights are removed."
    ),
)


@dataclass(frozen=True)
class Study:
    """What a command was given, by the names of its options; and the runs that failed so far, by name."""

    config: Path
    launcher_arguments: tuple[str, ...]
    out: Path | None
    base_model: str | None
    jobs: int
    lists: bool
    only: str | None
    launcher: str
    ranks: int
    keep_models: bool
    environment: Mapping[str, str]
    failed: list[str] = field(default_factory=list)

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the configuration without its `hbo:` block, and the block.

        Raises:
            ValueError: there is no block, or it is no supervised training.
        """
        base = read_yaml(self.config)
        if "hbo" not in base:
            msg = f"`{self.config}` has no `hbo:` block; add one, which may be empty, and `plugins: [hbo_plugin.HBOPlugin]`."
            raise ValueError(msg)
        kinds.refuse_command("a comparison of runs", base)
        block = base.pop("hbo") or {}
        return base | ({"base_model": self.base_model} if self.base_model else {}), block

    def plan(self, base: Mapping[str, Any], block: Mapping[str, Any], out: Path) -> Plan:
        """Return what a run with this `hbo:` block would do; its configuration is left in the folder `out`.

        Raises:
            ValueError: training would refuse it, or nothing is held out.
        """
        import yaml

        from hbo_plugin.compare.work import plan_of

        out.mkdir(parents=True, exist_ok=True)
        config = out / "planned.yml"
        config.write_text(yaml.safe_dump({**base, "hbo": {**block}}, sort_keys=False), encoding="utf-8")
        return plan_of(config, self.ranks)

    def train(
        self,
        runs: Sequence[PlannedRun],
        base: Mapping[str, Any],
        *,
        last: bool = True,
        hopeless: Callable[[PlannedRun], bool] | None = None,
    ) -> bool:
        """Train those runs that have not ended, or what `--list` and `--only` make of it; return whether to go on.

        Args:
            runs: of which those that others depend on come first.
            base: the configuration without its `hbo:` block.
            last: whether no other runs come after these.
            hopeless: see `Launch`.
        """
        from hbo_plugin.compare.runs import Launch
        from hbo_plugin.compare.work import Work, cards, look_at

        on = cards(self.jobs)
        chosen = [run for run in runs if run.name == self.only]
        launch = Launch(self.launcher, self.launcher_arguments, self.environment, self.keep_models, hopeless)
        left = [run for run in runs if not (run.finished or launch.gives_up(run))]
        if self.lists:
            self._list(left)
            return not left
        if self.only and not chosen and (last or left):
            msg = f"`--only {self.only}` was given, but the runs are {listed(run.name for run in runs)}: choose one of these."
            raise ValueError(msg)
        if self.only and not chosen:
            return True
        if not self.only:
            look_at(runs, base, self.ranks)
        elif not chosen[0].ready:
            msg = (
                f"`--only {self.only}` was given, but it draws by the weights of `{chosen[0].replayed}`, which has not ended; "
                f"train that first."
            )
            raise ValueError(msg)
        work = Work(chosen or runs, base, launch)
        work.train(on)
        self.failed.extend(work.failed)
        return not self.only

    @staticmethod
    def _list(left: Sequence[PlannedRun]) -> None:
        """Print what trains each run that can begin: this command, with `--only`."""
        words = [word for word in sys.orig_argv if word != "--list"]
        end = words.index("--") if "--" in words else len(words)
        for run in left:
            if run.ready:
                click.echo(encodable(shlex.join([*words[:end], "--only", run.name, *words[end:]])))
        if waiting := sum(not run.ready for run in left):
            click.echo(f"{waiting} more wait for the runs whose weights they draw by.", err=True)


def of_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a study, and hand them over as `study`; what is wrong ends it, and so does a failed run."""

    @wraps(command)
    def called(**given: Any) -> None:
        options = {name: given.pop(name) for name in Study.__dataclass_fields__ if name in given}
        study = Study(**options, environment=dict(os.environ))  # before Axolotl adds to it
        try:
            command(study, **given)
        except (OSError, ValueError) as error:
            raise click.ClickException(encodable(str(error))) from error
        if study.failed:
            click.get_current_context().exit(1)

    for option in reversed(_OPTIONS):
        called = option(called)
    return called


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the keys of a file; ValueError where it has none."""
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
