"""How often the command `search` names a dataset where none helps, and how often the helpers where there are some: a small model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from benchmarks.comparison import ROWS_PER_STEP, InProcess
from benchmarks.kept_runs import out_option
from benchmarks.mixtures import FAMILIES, HELPERS, TARGETS
from hbo_plugin.bench.report import environment
from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.outcome import compared
from hbo_plugin.compare.runs import planned
from hbo_plugin.compare.study import Study
from hbo_plugin.compare.work import Work
from hbo_plugin.outputs import STDOUT, json_option, write_json
from hbo_plugin.search.candidates import Shares
from hbo_plugin.search.find import find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.search.find import Found

STEPS = 48
CAP = 4
"""How often a run may repeat the targets."""
SEEDS = 5
"""Full runs of each mixture that is confirmed."""
SHORTER = 4
_FAMILIES = tuple(name for name in FAMILIES if name.startswith("target "))


TOLD = ("nothing", "one helper", "both helpers", "other datasets")
"""What a search may name, in words that are alike for all mixtures."""


@dataclass(frozen=True, kw_only=True)
class _Search(Study):
    """A search in this process, of one mixture.

    Attributes:
        family: of the mixture.
        mixture: its number, of which the seeds follow.
    """

    family: str
    mixture: int
    out: Path

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"seed": 1000 * self.mixture}, {"target": [*TARGETS], "levels": 1, "max_epochs": CAP}

    def plan(self, base: Mapping[str, Any], block: Mapping[str, Any], out: Path) -> Any:
        train, _ = FAMILIES[self.family].rows(self.mixture)
        share = CAP * len(train[TARGETS[0]]) / (STEPS * ROWS_PER_STEP)
        datasets = [SimpleNamespace(name=name, counted=name in TARGETS, asked=(share,)) for name in train]
        return SimpleNamespace(datasets=datasets, steps=STEPS, target=dict.fromkeys(TARGETS, 0.5))

    def train(
        self,
        runs: Sequence[PlannedRun],
        base: Mapping[str, Any],
        *,
        last: bool = True,
        hopeless: Callable[[PlannedRun], bool] | None = None,
    ) -> bool:
        steps = base.get("max_steps", STEPS)
        launch = InProcess(
            hopeless=hopeless,
            family=FAMILIES[self.family],
            mixture=self.mixture,
            steps=steps,
            evaluate_at=range(base.get("eval_steps", steps), steps, steps),
        )
        Work(runs, base, launch).train([None])
        return True


@click.command()
@click.option("--searches", default=40, type=click.IntRange(min=1), show_default=True, help="Of each family.")
@click.option("--family", "families", multiple=True, type=click.Choice(_FAMILIES), help="Only this; all by default.")
@out_option("demo/searches")
@json_option
def searches(*, searches: int, families: tuple[str, ...], out: Path, json_to: Path | None) -> None:
    """Search mixtures with two small targets, with helpers and without, and count what is named.

    What is named is run again on as many further seeds. The command can be stopped and started again at any moment.
    """
    rows = []
    for family in families or _FAMILIES:
        named: Counter[str] = Counter()
        again, less_strict = [], 0
        for number in range(searches):
            study = _search(family, number, out / family.replace(" ", "-") / str(number))
            found = find(study, seeds=SEEDS, trial_seeds=1, shorter=SHORTER, floor=0, budget=None)
            named[_told(found.chosen if found else None)] += 1
            less_strict += bool(found and found.better)
            if found and found.chosen:
                again.append({"search": number, "named": found.chosen, **_again(study, found)})
        rows.append(
            {
                "family": family,
                "searches": searches,
                "named": dict(named),
                "named_by_comparison": less_strict,
                "again": again,
            }
        )
        if json_to != STDOUT:
            told = ", ".join(f"{count} {told}" for told, count in named.items())
            lower = sum(each["difference"] < 0 for each in again)
            click.echo(
                f"{family}, {searches} searches: {told}; run again, {lower} of {len(again)} are lower; a comparison would call "
                f"{less_strict} better"
            )
    if json_to is not None:
        write_json(json_to, {"rows": rows, "environment": environment()})


def _again(study: _Search, found: Found) -> dict[str, Any]:
    """What the named mixture comes to on further seeds: its difference from the even rest, in nats, and the verdict."""
    base, block = study.read()
    even = Shares.of(study.plan(base, block, study.out), 0).even
    changes = {even.name: even.changes, str(found.chosen): even.changes | {"prior": found.prior}}
    arms = find_arms(block | {"target": found.target}, (), changes, even.name, controls=False)
    first = base["seed"] + 1 + SEEDS
    runs = planned(arms, range(first, first + SEEDS), study.out / "again")
    study.train(runs, base)
    (arm,) = [each for each in compared(runs, even.name).arms if each.arm == found.chosen]
    return {"difference": arm.difference.mean if arm.difference else None, "verdict": arm.verdict}


def _told(chosen: str | None) -> str:
    """Which of `TOLD` was named."""
    if chosen is None:
        return TOLD[0]
    helpers = sum(name in chosen for name in HELPERS.values())
    return TOLD[-1] if "other" in chosen else TOLD[helpers]


def _search(family: str, mixture: int, out: Path) -> _Search:
    return _Search(
        config=out,
        launcher_arguments=(),
        out=out,
        base_model=None,
        jobs=1,
        lists=False,
        only=None,
        launcher="none",
        ranks=1,
        keep_models=True,
        environment={},
        family=family,
        mixture=mixture,
    )
