"""What hbo costs a training run: steps with it against steps without, in turn, on the same rows; and whole runs of Axolotl."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from hbo_plugin.bench.measure import Row
from hbo_plugin.bench.report import publish, wide_console
from hbo_plugin.methods import METHODS
from hbo_plugin.outputs import json_option
from hbo_plugin.row_weights.dwm import DwmSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


UPDATE_EVERY = 200
SIZES = (2000, 1000, 667, 500, 400, 333, 286, 250)
"""Eight datasets of four levels."""
HELD_OUT = 16
"""Rows of each dataset."""
OFF, ON = "without hbo", "hbo"
REFRESH_EVERY = DwmSettings().refresh_every
ROW_WEIGHTS: dict[str, dict[str, Any]] = {
    "column": {"column": "quality"},
    "dwm": {"dwm": {"refresh_every": 2, "start": 2}},
}
"""By their case. Every other step has a refresh, which counts as often as it comes in a run: every 20 steps."""


@dataclass(frozen=True)
class Setting:
    """How large a step is. Probes are to a step what they are in the paper: 3.3% of the arithmetic of 200 steps."""

    model: str
    rows: int
    """In a step; the paper has 64, with 32 rows a dataset for gradients and 16 rows a cell without."""
    tokens: int
    steps: int
    """Of each kind that are timed, beside updates and the steps before them."""

    def block(self, signals: str) -> dict[str, Any]:
        """The `hbo:` block."""
        rows = {"gradient_rows": self.rows // 2, "forward_rows": self.rows // 4}
        return {"update_every": UPDATE_EVERY, "signals": signals, **rows}


RUN_STEPS = 300
"""Of a whole run of Axolotl, of which one in four warms up."""
RUNS = 3
"""Of each kind."""
FULL = (Setting("tiny", 64, 64, 300), Setting("smollm2", 16, 64, 20))
QUICK = (Setting("tiny", 64, 64, 60), Setting("smollm2", 4, 32, 8))


def overhead(setting: Setting, signals: str, folder: Path) -> Iterator[Row]:
    """Rows of one case; the first two are the time of a step."""
    from benchmarks.training_run import MODELS, Training, made_rows

    case = f"{setting.model}/{signals}"
    model = MODELS[setting.model]()
    data = made_rows(SIZES, setting.tokens), made_rows([HELD_OUT] * len(SIZES), setting.tokens, seed=1)
    shared: Any = {"rows_per_step": setting.rows, "steps": 10_000, "folder": folder}
    without = Training.of(model, *data, block=None, **shared)
    with_hbo = Training.of(model, *data, block=setting.block(signals), **shared)
    run = with_hbo.run
    run.clock.now = time.process_time

    steps = []

    def timed(number: int) -> dict[str, float]:
        """Make a step with and one without on the same rows; returns what hbo's parts took."""
        before = dict(run.clock.seconds)
        begun = time.process_time()
        rows = with_hbo.step(number)
        on = time.process_time() - begun
        without.step(number, rows)
        steps.append((on, time.process_time() - begun - on))
        return {part: seconds - before[part] for part, seconds in run.clock.seconds.items()}

    for number in (1, 2):  # what the first steps allocate
        timed(number)
    steps.clear()
    every = run.context.observed_every
    # An update adds up what was observed since the one before: as many steps as a run observes, or all there are.
    window = max(1, UPDATE_EVERY // every - 1)
    plain, observed, updated = [], [], []
    pairs = setting.steps // 2
    for turn in range(pairs):
        number = every * (1 + turn % window)
        plain.append(timed(number - 1))
        observed.append(timed(number))
        if turn % window == window - 1 or turn == pairs - 1:
            plain.append(timed(UPDATE_EVERY - 1))
            updated.append(timed(UPDATE_EVERY))
            steps.pop()  # the time of the update is not that of a step
    on, off = (median(times) for times in zip(*steps, strict=True))
    parts = {
        part: median(each[part] for each in plain) * (1 - 1 / every)
        + median(each[part] for each in observed) / every
        + median(each[part] for each in updated) / UPDATE_EVERY
        for part in run.clock.seconds
    }
    spent = sum(parts.values())
    update = median(sum(each.values()) for each in updated)
    note = f"{setting.rows} rows of up to {setting.tokens} tokens; an update takes {update:.3g} s every {UPDATE_EVERY} steps"
    # What hbo adds is less than a machine's steps differ, so its parts are timed inside the steps; the spread is theirs.
    spread = (min(on for on, _ in steps), max(on for on, _ in steps))
    yield Row(case, ON, ours=True, unit="s", value=off + spent, spread=spread, cpu=on, note=note)
    spread = (min(off for _, off in steps), max(off for _, off in steps))
    yield Row(case, OFF, ours=False, unit="s", value=off, spread=spread, cpu=off)
    for part, seconds in parts.items():
        share = f"{seconds / off:.2%} of a step"
        yield Row(f"{case}, of that", part, ours=True, unit="s", value=seconds, spread=(seconds, seconds), note=share)


def weighing(setting: Setting, name: str, folder: Path) -> Iterator[Row]:
    """Rows of one case of `ROW_WEIGHTS`, beside a mixture that is fixed: the time of a step with and without."""
    from benchmarks.training_run import MODELS, Training, made_rows

    model = MODELS[setting.model]()
    if setting.model == "smollm2":
        from peft import LoraConfig, get_peft_model

        # As one trains it; the layers are then all that the influence of a row comes from.
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    data = made_rows(SIZES, setting.tokens), {"set0": made_rows([2 * setting.rows], setting.tokens, seed=1)[0]}
    shared: Any = {"rows_per_step": setting.rows, "steps": 10_000, "folder": folder}
    block = {"method": "static", "target": ["set0"], **setting.block("probe")}
    without = Training.of(model, *data, block=None, **shared)
    weighed = Training.of(model, *data, block={**block, "row_weights": ROW_WEIGHTS[name]}, **shared)
    weighed.run.clock.now = time.process_time
    steps, added = [], []
    for number in range(1, setting.steps + 3):
        before = weighed.run.clock.seconds["signals"]
        begun = time.process_time()
        rows = weighed.step(number)
        on = time.process_time() - begun
        without.step(number, rows)
        steps.append((on, time.process_time() - begun - on))
        added.append(weighed.run.clock.seconds["signals"] - before)
    off = median(off for _, off in steps[2:])
    refreshed, plain = (median(added[first::2]) for first in (3, 2))
    spent = plain + (refreshed - plain) / REFRESH_EVERY
    case = f"{setting.model}/row weights, {name}"
    note = f"{setting.rows} rows of up to {setting.tokens} tokens; a step has {plain / off:.2%} more, with a refresh {refreshed / off:.0%}"
    for kind, value, times in (
        (ON, off + spent, [on for on, _ in steps[2:]]),
        (OFF, off, [off for _, off in steps[2:]]),
    ):
        yield Row(
            case,
            kind,
            ours=kind == ON,
            unit="s",
            value=value,
            spread=(min(times), max(times)),
            cpu=median(times),
            note=note if kind == ON else "",
        )


def whole_runs(folder: Path) -> Iterator[Row]:
    """Rows of one case: packed runs of Axolotl as its users start them, with its own loader workers, by the clock on the wall."""
    import torch

    from benchmarks.gpu.case import Case
    from benchmarks.gpu.runs import configured, train

    small = not torch.cuda.is_available()
    case = Case("whole runs", folder, small, folder / "findings")
    found: dict[str, list[float]] = {OFF: [], ON: []}
    for turn in range(RUNS):
        for name, block in ((OFF, None), (ON, {"update_every": UPDATE_EVERY})):
            with redirect_stdout(sys.stderr):  # stdout is for the result
                run = train(configured(case, f"{name} {turn}", "smollm2", block, max_steps=RUN_STEPS))
            found[name].append(median(run.seconds[RUN_STEPS // 4 :]))
    for name, times in found.items():
        spread = (min(times), max(times))
        yield Row(
            f"{'tiny' if small else 'smollm2'}/axolotl",
            name,
            ours=name == ON,
            unit="s",
            value=median(times),
            spread=spread,
        )


@click.command()
@click.option("--quick", is_flag=True, help="Smaller and fewer steps: seven minutes.")
@json_option
def training(*, quick: bool, json_to: Path | None) -> None:
    """Measure what hbo adds to a training step: by CPU time, and in whole runs of Axolotl by the clock on the wall."""
    # Axolotl would take a model in `tmpt...` for an MPT model.
    with tempfile.TemporaryDirectory(prefix="hbo-") as name:
        folder, settings = Path(name), QUICK if quick else FULL
        cases = [overhead(setting, signals, folder) for setting in settings for signals in ("reuse", "probe")]
        cases += [weighing(setting, each, folder) for setting in settings for each in ROW_WEIGHTS]
        cases.append(whole_runs(folder))
        rows = [row for case in cases for row in case]
    times = {(row.case, row.name): row.value for row in rows}
    ratios = {case: on / off for (case, name), on in times.items() if name == ON and on and (off := times[case, OFF])}
    publish(rows, json_to, ratios=("step time with hbo over without", ratios))


_NEEDED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "target_loss": lambda _: {"goal_losses": {"set0": 0.1, "set1": 0.5, "set2": 1.0}},
    "scalebio": lambda _: {"twin_every": 1},
    "branches": lambda _: {
        "target": ["set0"],
        "prior": "uniform",
        "branch_at": 0.5,
        "branch_steps": 2,
        "branch_budget": 9,
    },
    "replay": lambda folder: {"trace": str(folder / "hbo" / "hbo_trace.jsonl")},
}
"""Parameters without which a method cannot be."""
TRIED = tuple(name for name in METHODS if name != "frontier")  # which needs rewards


@click.command()
@click.option("--steps", default=40, show_default=True, help="Optimizer steps of each method.")
def methods(*, steps: int) -> None:
    """Train the tiny model with every method of supervised training, and show its weights, held-out losses and cost. A smoke test, not evidence."""
    table = Table(title=f"Every method for {steps} steps", title_justify="left", title_style="bold")
    for header in ("method", "weights, last", "held-out losses, last", "cost of measuring"):
        table.add_column(header)
    with tempfile.TemporaryDirectory() as folder:
        for name in TRIED:
            table.add_row(name, *_tried(name, steps, Path(folder)))
    wide_console().print(table)


def _tried(name: str, steps: int, root: Path) -> tuple[str, str, str]:
    """Weights, losses and cost of one method."""
    from benchmarks.training_run import MODELS, Recipe, Training, made_rows

    needed = _NEEDED[name](root) if name in _NEEDED else {}
    block = {"method": name, **needed, "update_every": max(1, steps // 4), "gradient_rows": 8, "forward_rows": 4}
    data = made_rows((400, 200, 100), 48), made_rows([HELD_OUT] * 3, 48, seed=1)
    steady = Recipe(schedule=lambda _: 1.0)  # which branches put back
    made = Training.of(
        MODELS["tiny"](), *data, rows_per_step=16, steps=steps, folder=root / name, block=block, recipe=steady
    )
    run = made.run
    for number in range(1, steps + 1):
        made.step(number)
    run.end(steps)
    share = run.journal.scalars({})["hbo/overhead/share"]
    losses = run.held_out_losses(steps)
    weights = run.balancer.weights().sum(axis=1)
    return (
        " ".join(f"{weight:.1%}" for weight in weights),
        " ".join(f"{loss:.3f}" for loss in losses.values()),
        f"{share:.1%} of the run",
    )
