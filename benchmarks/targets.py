"""What finds the helpers of a target: a real model with LoRA, two targets of few rows, and each method on the same rows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from pydantic import ValidationError
from rich.table import Table

from axolotl_configs.quickstart_search_data import HELPERS, TARGET_ROWS, TASKS
from benchmarks.kept_runs import all_runs, earlier_option, out_option, tell
from benchmarks.mixtures import LATER
from benchmarks.real_model import ROWS_PER_STEP, pretrained, versions
from hbo_plugin.args import HBOConfig
from hbo_plugin.bench.report import wide_console
from hbo_plugin.messages import reasons
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.real_model import Pretrained

STEPS = (80, 240)
UPDATES = 20
"""Of a run, as the recipes advise."""
CAP = 4
"""How often a target may be repeated, where an arm does not say otherwise."""
BASELINE = f"rest even, cap {CAP}"


def arms(steps: int) -> dict[str, dict[str, Any]]:
    """By what they are called in the table: their `hbo:` block, for a run of so many steps."""
    # As much as target first gives; of a run that the targets could fill, something is left all the same.
    share = min(CAP * TARGET_ROWS / (steps * ROWS_PER_STEP), 0.9 / len(HELPERS))
    hand = dict.fromkeys(HELPERS, share) | dict.fromkeys(HELPERS.values(), 1 / len(HELPERS) - share)
    # The default leaves branches of a short run too few steps to be told apart.
    branches = {"method": "branches"} | ({"branch_budget": 1.25} if steps < 100 else {})
    looks = {"update_every": max(1, steps // UPDATES)}
    blocks: dict[str, dict[str, Any]] = {
        "rest even, cap 3": {"method": "static", "max_epochs": 3},
        BASELINE: {"method": "static"},
        "rest even, cap 6": {"method": "static", "max_epochs": 6},
        "rest even, cap 10": {"method": "static", "max_epochs": 10},
        "rest even, cap auto": {"method": "static", "max_epochs": "auto", **looks},
        "branches": branches,
        "branches, later": branches | LATER,
        # An update takes as long as a hundred steps, so it has two.
        "tandem": {"method": "tandem", "update_every": max(1, 5 * steps // 12)},
        "scalebio": {"method": "scalebio"},
        "by hand": {"method": "static", "prior": {name: hand.get(name, 0.0) for name in TASKS}},
        "temperature 3": {"method": "static", "prior": 3},
        "hbo": {"method": "hbo", **looks},
    }
    # The rows of a task are all alike: there is no level to tell apart.
    shared = {"target": [*HELPERS], "levels": 1, "max_epochs": CAP}
    return {name: shared | block for name, block in blocks.items()}


NAMES = [*arms(STEPS[0])]


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        arm: how it was trained.
        steps: how long.
        seed: of the rows, of the adapters and of the stream.
        losses: a token of each target's judging half, at the end, in nats.
        loss: their mean.
        seconds: of the processor, from the first step to the last.
        weights: of each dataset at the end.
        environment: versions and the machine.
    """

    arm: str
    steps: int
    seed: int
    losses: dict[str, float]
    loss: float
    seconds: float
    weights: dict[str, float]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one arm came to in runs of one length, over the seeds that have the baseline too.

    Attributes:
        steps: of each run.
        arm: name.
        seeds: how many.
        loss: mean over targets and seeds, nats a token.
        difference: of that loss from the baseline's with the same seed.
        error: standard error of that difference; None of one seed.
        differences: the same for each target apart.
        errors: theirs.
        seconds: of the processor, mean of a run.
        weights: of each dataset at the end, mean.
    """

    steps: int
    arm: str
    seeds: int
    loss: float
    difference: float
    error: float | None
    differences: dict[str, float]
    errors: dict[str, float | None]
    seconds: float
    weights: dict[str, float]


@click.command()
@click.option("--seeds", default=5, type=click.IntRange(min=1), show_default=True, help="Runs of each arm and length.")
@click.option(
    "--steps",
    multiple=True,
    default=STEPS,
    type=click.IntRange(min=1),
    show_default=True,
    help="Optimizer steps of a run.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(NAMES), help="Train only these; the table has all that are there."
)
@out_option("demo/targets")
@earlier_option
@json_option
def targets(
    *, seeds: int, steps: tuple[int, ...], only: tuple[str, ...], out: Path, earlier: Path | None, json_to: Path | None
) -> None:
    """Train SmolLM2-135M with LoRA for two targets of few rows by each of several methods, and compare their losses.

    A run takes a second a step on a core. The command can be stopped and started again at any moment, and several can
    work on one folder at once, on a core each.
    """
    chosen = [name for name in NAMES if not only or name in only]
    for length, name in product(steps, chosen):
        _check(name, arms(length)[name])
    wanted = {
        (length, seed, name): f"{name.replace(',', '').replace(' ', '-')}.{length}.{seed}"
        for length, seed, name in product(steps, range(seeds), chosen)
    }

    def make(length: int, seed: int, name: str) -> Result:
        return _run(pretrained(), name, length, seed)

    found = all_runs(Result, lambda run: (run.steps, run.seed, run.arm), wanted, make, out, earlier)
    tell(_outcomes(found), found, _show, json_to)


def _check(name: str, block: dict[str, Any]) -> None:
    """Refuse an arm that this hbo cannot train, before hours of others."""
    try:
        HBOConfig.model_validate(block)
    except ValidationError as error:
        msg = f"the arm `{name}` cannot be trained: {reasons(error)} Name the others with `--only`."
        raise click.ClickException(msg) from None


def _run(start: Pretrained, arm: str, steps: int, seed: int) -> Result:
    from hbo_plugin.signals.held_out import held_out_losses

    with start.training(arms(steps)[arm], steps, seed) as training:
        begun = time.process_time()
        for step in range(1, steps + 1):
            training.step(step)
        seconds = time.process_time() - begun
        losses = held_out_losses(training.run.context, training.run.data.judging)
        weights = dict(zip(TASKS, training.run.balancer.weights().sum(axis=1).tolist(), strict=True))
    loss = sum(losses.values()) / len(losses)
    return Result(arm, steps, seed, losses, loss, seconds, weights, versions())


def _outcomes(results: Sequence[Result]) -> list[Outcome]:
    """By length, and by arm as they stand in the table of arms."""
    by_run = {(each.steps, each.arm, each.seed): each for each in results}
    outcomes = []
    for steps, arm in product(sorted({each.steps for each in results}), NAMES):
        pairs = [
            (ours, baseline)
            for (length, name, seed), ours in by_run.items()
            if (length, name) == (steps, arm) and (baseline := by_run.get((steps, BASELINE, seed)))
        ]
        if not pairs:
            continue
        difference, error = _mean([ours.loss - baseline.loss for ours, baseline in pairs])
        apart = {
            name: _mean([ours.losses[name] - baseline.losses[name] for ours, baseline in pairs]) for name in HELPERS
        }
        outcomes.append(
            Outcome(
                steps,
                arm,
                seeds=len(pairs),
                loss=float(np.mean([ours.loss for ours, _ in pairs])),
                difference=difference,
                error=error,
                differences={name: mean for name, (mean, _) in apart.items()},
                errors={name: error for name, (_, error) in apart.items()},
                seconds=float(np.mean([ours.seconds for ours, _ in pairs])),
                weights={name: float(np.mean([ours.weights[name] for ours, _ in pairs])) for name in TASKS},
            )
        )
    return outcomes


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    """With its standard error, None of a single value."""
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), error


def _show(outcomes: Sequence[Outcome]) -> None:
    console = wide_console()
    for steps in sorted({each.steps for each in outcomes}):
        title = f"{steps} steps of {ROWS_PER_STEP} rows"
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("arm")
        for header in ("seeds", "loss of the target", f"from {BASELINE}", *HELPERS, "seconds"):
            table.add_column(header, justify="right")
        for each in outcomes:
            if each.steps == steps:
                apart = (_difference(each.differences[name], each.errors[name]) for name in HELPERS)
                difference = _difference(each.difference, each.error)
                table.add_row(each.arm, str(each.seeds), f"{each.loss:.3f}", difference, *apart, f"{each.seconds:.0f}")
        console.print(table)
    console.print("± is one standard error over the seeds; seconds are of the processor.")


def _difference(mean: float, error: float | None) -> str:
    return f"{mean:+.3f}" + ("" if error is None else f" ± {error:.3f}")
