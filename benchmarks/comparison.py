"""Which method trains best: a small model on families of made mixtures, compared as the command `compare` compares a user's own runs."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.kept_runs import earlier_option, earlier_runs, out_option
from benchmarks.mixtures import FAMILIES
from benchmarks.tasks import LEARNABLE, VOCABULARY, task_rows
from hbo_plugin.bench.report import environment
from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.outcome import judged
from hbo_plugin.compare.results import RunResult, results_of
from hbo_plugin.compare.runs import Launch, locked, planned
from hbo_plugin.compare.work import Work
from hbo_plugin.outputs import STDOUT, json_option, write_json
from hbo_plugin.trace import TRACE_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from benchmarks.mixtures import Family
    from benchmarks.training_run import Rows, Training
    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.compare.results import Results
    from hbo_plugin.compare.runs import PlannedRun

ROWS_PER_STEP = 32
STEPS = 150
UPDATES = 20
"""Of a run."""
RATE = 2e-3
FIRST_STEPS = 600
"""On easy terms, before any method begins: a model that is fine-tuned is not a new one."""


@dataclass(frozen=True, kw_only=True)
class InProcess(Launch):
    """Trains the small model here, where the command would start Axolotl.

    Attributes:
        family: of the mixtures.
        mixture: the number of the mixture that all runs share; None gives each seed its own.
        steps: of each run.
        evaluate_at: steps after which a run is evaluated, beside the last.
    """

    launcher: str = "none"
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    keep_models: bool = True
    family: Family
    mixture: int | None = None
    steps: int
    evaluate_at: Collection[int] = ()

    def train(self, run: PlannedRun, config: Path, card: str | None) -> bool | None:
        """See `Launch`; no configuration is read."""
        with locked(run.folder) as lock:
            if lock is None:
                return None
            if not run.finished:
                self._train(run)
            return True

    def _train(self, run: PlannedRun) -> None:
        train, held_out = self.family.rows(run.seed if self.mixture is None else self.mixture)
        block = run.arm.made(run.replayed and run.replayed / TRACE_FILE)
        model = copy.deepcopy(first_model(FIRST_STEPS))
        made = training(model, train, held_out, block, self.steps, run.seed, run.folder)
        for step in range(1, self.steps + 1):
            made.step(step)
            if step == self.steps or step in self.evaluate_at:
                made.run.held_out_losses(step)
        made.run.end(self.steps)


@click.command()
@click.option(
    "--seeds", default=10, type=click.IntRange(min=1), show_default=True, help="Runs of each arm, on other mixtures."
)
@click.option("--family", "families", multiple=True, type=click.Choice([*FAMILIES]), help="Only this; all by default.")
@click.option("--only", multiple=True, metavar="ARM", help="Train only this arm, beside the first of its family.")
@out_option("demo/compare")
@earlier_option
@json_option
def compare(
    *,
    seeds: int,
    families: tuple[str, ...],
    only: tuple[str, ...],
    out: Path,
    earlier: Path | None,
    json_to: Path | None,
) -> None:
    """Train a small model on made mixtures with each of several methods, and compare the held-out losses.

    A run takes some ten seconds on a core. The command can be stopped and started again at any moment, and several can
    work on one folder at once, on a core each.
    """
    before = earlier_runs(earlier) or {}
    rows, runs = {}, {}
    for name in families or FAMILIES:
        family = FAMILIES[name]
        kept: Results = {(each["arm"], each["seed"]): RunResult(**each) for each in before.get(name, [])}
        arms = find_arms({**family.block, "target": [*family.counts]}, (), family.arms, family.baseline, controls=False)
        every = planned(arms, range(seeds), out / name.replace(" ", "-"))
        left = [run for run in every if (run.arm.name, run.seed) not in kept]
        chosen = [run for run in left if not only or run.arm.name in {family.baseline, *only}]
        Work(chosen, {}, InProcess(family=family, steps=STEPS)).train([None])
        results = kept | results_of(left)
        found = judged(every, results, family.baseline)
        rows[name], runs[name] = asdict(found), [asdict(each) for each in results.values()]
        if json_to != STDOUT:
            _show(name, found)
    if json_to is not None:
        write_json(json_to, {"rows": rows, "runs": runs, "environment": environment()})


@cache
def first_model(steps: int) -> Any:
    """A model that has begun to learn every task, from rows of its own."""
    from benchmarks.training_run import small_model

    rng = np.random.default_rng(2**32)
    rows = {name: task_rows(name, 400, rng) for name in LEARNABLE}
    few = {name: of_it[:2] for name, of_it in rows.items()}
    model = small_model(VOCABULARY)
    with tempfile.TemporaryDirectory() as folder:
        made = training(model, rows, few, {"method": "static", "prior": "uniform"}, steps, 0, Path(folder))
        for step in range(1, steps + 1):
            made.step(step)
    return model


def training(
    model: Any,
    train: dict[str, Rows],
    held_out: dict[str, Rows],
    block: dict[str, Any],
    steps: int,
    seed: int,
    folder: Path,
) -> Training:
    """A run with warm-up and a cosine, of which no step is made yet."""
    from benchmarks.training_run import Recipe, Training

    def schedule(done: int) -> float:
        return min(1, 6 * (done + 1) / steps) * (0.525 + 0.475 * math.cos(math.pi * (done + 1) / steps))

    return Training.of(
        model,
        [*train.values()],
        held_out,
        rows_per_step=ROWS_PER_STEP,
        steps=steps,
        folder=folder,
        block={"update_every": max(1, steps // UPDATES), **block},
        seed=seed,
        names=[*train],
        recipe=Recipe(RATE, schedule=schedule),
    )


def _show(name: str, found: Comparison) -> None:
    from hbo_plugin.compare.terminal import comparison
    from hbo_plugin.report.terminal import show, title

    show(title(f"Family: {name}"))
    show(comparison(found))
