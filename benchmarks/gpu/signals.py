"""Case: what hbo measures on the card is what it measures on a CPU, in float32 and nearly so in bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.runs import numbers
from hbo_plugin.signals.table import SIGNALS

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.gpu.case import Case

SINGLE, HALF = 5e-3, 0.03
"""By how much a signal may differ, as a share of the greatest of its kind, in float32 and in bfloat16."""
STEPS = 6
ALL = "benchmarks.signals.Watch"
"""A method that asks for each signal that training batches and probes both have."""
TARGET: dict[str, Any] = {"target": ["set0"], "prior": "uniform"}
BLOCKS: dict[str, dict[str, Any]] = {
    "training batches": {"method": ALL, "signals": "reuse"},
    "probes": {"method": ALL, "signals": "probe"},
    "directions of gradients": {"method": "multidds"},
    "a step ahead": {"method": "dynamix"},
    "hidden states": {"method": "mos", "reward": "similarity"},
    "gradients of rows, and ratios of all rows": {"published": True},
    "held-out rows": {"method": "target_loss", "goal_losses": {"set0": 0.1, "set1": 0.5, "set2": 1.0}},
    "copies": {"method": "tandem", **TARGET},
    "copies, as published": {"method": "tandem", "published": True, **TARGET},
    "a twin": {"method": "scalebio", "twin_every": 1, **TARGET},
    "branches": {"method": "branches", "branch_at": 3, "branch_steps": 2, "branch_budget": 9, **TARGET},
    "learned row weights": {
        "method": "static",
        "target": ["set0"],
        "row_weights": {"dwm": {"refresh_every": 1, "start": 1}},
    },
}


def run(case: Case) -> None:
    """Train the tiny model for some steps on each device, and compare what was recorded."""
    seen: set[str] = set()
    for name, block in BLOCKS.items():
        with case.attempt(name):
            here = _recorded(case.folder / "cpu", block, "cpu")
            there = _recorded(case.folder / "card", block, case.device)
            apart = _apart(here, there)
            seen |= here.keys()
            case.expect(
                f"{name}: as on the CPU, within {SINGLE:.1%} in float32", holds=apart < SINGLE, worst_share=apart
            )
    # Pairs and rewards are of other kinds of training.
    supervised = {name for name, signal in SIGNALS.items() if signal.sources.keys() - {"pairs", "rollouts"}}
    case.expect("every signal of supervised training was compared", holds=seen >= supervised, signals=len(seen))
    for name in ("training batches", "probes"):
        with case.attempt(f"{name} in bfloat16"):
            here = _recorded(case.folder / "cpu", BLOCKS[name], "cpu")
            apart = _apart(here, _recorded(case.folder / "card", BLOCKS[name], case.device, half=True))
            case.expect(f"{name}: as on the CPU, within {HALF:.1%} in bfloat16", holds=apart < HALF, worst_share=apart)


def _recorded(folder: Path, block: dict[str, Any], device: str, *, half: bool = False) -> dict[str, list[float]]:
    """What a run records of signals and row weights, by kind."""
    import torch

    from benchmarks.training_run import MODELS, Recipe, Training, made_rows

    model = MODELS["tiny"]()
    if half:
        model.to(torch.bfloat16)
    training = Training.of(
        model.to(device),
        made_rows((80, 60, 40), 48),
        made_rows([24] * 3, 48, seed=1),
        rows_per_step=16,
        steps=STEPS,
        folder=folder,
        block={"update_every": 2, "gradient_rows": 16, "forward_rows": 8, "levels": 2, **block},
        recipe=Recipe(schedule=lambda _: 1.0),
        device=device,
    )
    for number in range(1, STEPS + 1):
        training.step(number)
    training.run.end(STEPS)
    found: dict[str, list[float]] = {}
    for record in training.run.journal.trace.read():
        tables = record["signals"] if record["event"] == "update" else {}
        if record["event"] == "row_weights":
            tables = {"row_weights": record["cells"]}
        for kind, table in tables.items():
            found.setdefault(kind, []).extend(numbers(table))
    return found


def _apart(here: dict[str, list[float]], there: dict[str, list[float]]) -> float:
    """The greatest difference of any number, as a share of the greatest of its kind; infinite where one is not there."""
    if not here or here.keys() != there.keys():
        return float("inf")
    worst = 0.0
    for kind, values in here.items():
        wanted, found = np.array(values), np.array(there[kind])
        if wanted.shape != found.shape or (np.isnan(wanted) != np.isnan(found)).any() or np.isnan(wanted).all():
            return float("inf")
        worst = max(worst, float(np.nanmax(np.abs(found - wanted)) / max(np.nanmax(np.abs(wanted)), 1e-12)))
    return worst
