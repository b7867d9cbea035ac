"""Which method trains best: held-out losses of a small model over seeds, each seed against the same static mixture."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.tasks import LEARNABLE, NOISE, VOCABULARY, task_rows
from hbo_plugin.bench.report import environment, wide_console
from hbo_plugin.outputs import STDOUT, json_option, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.training_run import Rows

ROWS_PER_STEP = 32
UPDATES = 20
"""Of a run."""
RATE = 2e-3
FIRST_STEPS = 600
"""On easy terms, before any method begins: a model that is fine-tuned is not a new one."""
SIZES = (4000, 2000, 1000, 500, 250, 120, 60, 30)
"""Rows of the datasets; which task has how many depends on the seed."""
NOISE_ROWS = 1000
HELD_OUT = 64
"""Rows of each task."""

BASELINE = "temperature 3"
CONTENDERS: Mapping[str, dict[str, Any]] = {
    BASELINE: {"method": "static"},
    "temperature 2": {"method": "static", "prior": 2},
    "proportional": {"method": "static", "prior": "proportional"},
    "uniform": {"method": "static", "prior": "uniform"},
    "hbo": {},
    "hbo, datasets only": {"levels": 1},
    "hbo, local actor rewarded with the loss": {"reward": {"local": "loss"}},
    "hbo, exponent 1": {"exponent": 1},
    "hbo, prior proportional": {"prior": "proportional"},
    "hbo, published": {"published": True},
    "learning progress": {"method": "learning_progress"},
    "mos": {"method": "mos"},
    "odm": {"method": "odm"},
    "random": {"method": "random"},
}
"""By what they are called in the table: their `hbo:` block."""


@dataclass(frozen=True)
class Outcome:
    """What one contender came to, over the seeds."""

    name: str
    loss: float
    """Mean over tasks of the held-out loss a token, nats."""
    difference: float
    """Of that loss from the baseline's with the same seed."""
    error: float | None
    """Standard error of that difference; None of one seed."""
    worst: float
    """Loss of the worst task."""
    small: float
    """Mean loss of the three tasks with the fewest rows."""
    cost: float
    """Share of the run that hbo's work took."""


@click.command()
@click.option(
    "--seeds",
    default=5,
    type=click.IntRange(min=1),
    show_default=True,
    help="Runs of each contender, on other rows and sizes.",
)
@click.option("--steps", default=300, type=click.IntRange(min=1), show_default=True, help="Optimizer steps of a run.")
@click.option("--noise", is_flag=True, help="Add a dataset that nobody can learn, and that is not counted.")
@click.option("--only", multiple=True, type=click.Choice([*CONTENDERS]), help="Only these, beside the baseline.")
@json_option
def compare(*, seeds: int, steps: int, noise: bool, only: tuple[str, ...], json_to: Path | None) -> None:
    """Train a small model on eight tasks with each of several methods, and compare the held-out losses.

    One run takes some twelve seconds on a core: a quarter of an hour for all, with five seeds.
    """
    contenders = {name: block for name, block in CONTENDERS.items() if not only or name in {BASELINE, *only}}
    start = first_model(FIRST_STEPS)
    losses = np.empty((seeds, len(contenders), len(LEARNABLE)))
    sizes = np.empty((seeds, len(LEARNABLE)), np.int64)
    costs = np.empty((seeds, len(contenders)))
    runs = [(seed, index) for seed in range(seeds) for index in range(len(contenders))]
    for seed, index in track(runs, "runs", console=Console(stderr=True), transient=True):
        sizes[seed] = np.random.default_rng(seed).permutation(SIZES)
        block = [*contenders.values()][index]
        losses[seed, index], costs[seed, index] = _run(start, block, sizes[seed], steps, seed, noise=noise)
    outcomes = _outcomes([*contenders], losses, sizes, costs)
    if json_to != STDOUT:
        _show(outcomes, f"{seeds} seeds, {steps} steps of {ROWS_PER_STEP} rows{', with noise' if noise else ''}")
    if json_to is not None:
        settings = {"seeds": seeds, "steps": steps, "noise": noise}
        rows = [asdict(each) for each in outcomes]
        write_json(json_to, {"rows": rows, "settings": settings, "environment": environment()})


def first_model(steps: int) -> Any:
    """A model that has begun to learn every task, from rows of its own."""
    from benchmarks.training_run import small_model

    rng = np.random.default_rng(2**32)
    datasets = [task_rows(name, 400, rng) for name in LEARNABLE]
    model = small_model(VOCABULARY)
    _train(model, datasets, [rows[:1] for rows in datasets], {"method": "static", "prior": "uniform"}, steps, 0)
    return model


def _run(
    start: Any, block: dict[str, Any], sizes: NDArray[np.int64], steps: int, seed: int, *, noise: bool
) -> tuple[list[float], float]:
    """The held-out loss of each task after a run, and the share of the run that hbo took."""
    rng = np.random.default_rng(seed)
    datasets = [task_rows(name, size, rng) for name, size in zip(LEARNABLE, sizes.tolist(), strict=True)]
    held_out = [task_rows(name, HELD_OUT, rng, rows) for name, rows in zip(LEARNABLE, datasets, strict=True)]
    if noise:
        datasets.append(task_rows(NOISE, NOISE_ROWS, rng))
        held_out.append(task_rows(NOISE, 1, rng))
    losses, cost = _train(copy.deepcopy(start), datasets, held_out, block, steps, seed)
    return losses[: len(LEARNABLE)], cost


def _train(
    model: Any, datasets: Sequence[Rows], held_out: Sequence[Rows], block: dict[str, Any], steps: int, seed: int
) -> tuple[list[float], float]:
    """Train with warm-up and a cosine; returns the held-out loss of each dataset and the share that hbo took."""
    from benchmarks.training_run import Training
    from hbo_plugin.signals.held_out import held_out_losses

    block = {"update_every": max(1, steps // UPDATES), **block}
    with tempfile.TemporaryDirectory() as folder:
        training = Training.of(
            model,
            datasets,
            held_out,
            rows_per_step=ROWS_PER_STEP,
            steps=steps,
            folder=Path(folder),
            block=block,
            seed=seed,
        )
        for step in range(1, steps + 1):
            for group in training.optimizer.param_groups:
                group["lr"] = RATE * min(1, step / 50) * (0.525 + 0.475 * math.cos(math.pi * step / steps))
            training.step(step)
        cost = training.run.journal.scalars({})["hbo/overhead/share"]
        return [*held_out_losses(training.run.context, training.run.data.judging).values()], cost


def _outcomes(
    names: list[str], losses: NDArray[np.float64], sizes: NDArray[np.int64], costs: NDArray[np.float64]
) -> list[Outcome]:
    """Of losses float64[seeds, contenders, tasks], sizes int64[seeds, tasks] and costs float64[seeds, contenders]."""
    means = losses.mean(axis=2)
    differences = means - means[:, [names.index(BASELINE)]]
    small = np.take_along_axis(losses, sizes.argsort(axis=1)[:, None, :3], axis=2).mean(axis=(0, 2))
    seeds = len(losses)
    errors = differences.std(axis=0, ddof=1) / math.sqrt(seeds) if seeds > 1 else None
    return [
        Outcome(
            name,
            loss=float(means[:, index].mean()),
            difference=float(differences[:, index].mean()),
            error=None if errors is None else float(errors[index]),
            worst=float(losses[:, index].max(axis=1).mean()),
            small=float(small[index]),
            cost=float(costs[:, index].mean()),
        )
        for index, name in enumerate(names)
    ]


def _show(outcomes: Sequence[Outcome], title: str) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("method")
    for header in ("mean loss", f"from {BASELINE}", "worst task", "three smallest", "cost"):
        table.add_column(header, justify="right")
    for each in sorted(outcomes, key=lambda outcome: outcome.loss):
        error = "" if each.error is None else f" ± {each.error:.3f}"
        difference = "" if each.name == BASELINE else f"{each.difference:+.3f}{error}"
        table.add_row(
            each.name, f"{each.loss:.3f}", difference, f"{each.worst:.3f}", f"{each.small:.3f}", f"{each.cost:.1%}"
        )
    console = wide_console()
    console.print(table)
    console.print("± is one standard error over the seeds. One small model, one kind of task: a hint, not evidence.")
