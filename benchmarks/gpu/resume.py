"""Case: a killed run draws the rows that it would have drawn, and measuring changes no loss."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.meter import KILLED_AFTER
from benchmarks.gpu.runs import LORA, configured, saved, train
from hbo_plugin.trace import ROWS_FILE

if TYPE_CHECKING:
    from benchmarks.gpu.case import Case

STEPS, SAVED, KILLED = 10, 4, 6
APART = 0.01
"""Nats between the losses of two runs on the same rows: sums on a card are not in one order."""
ADAPTS: dict[str, Any] = {"update_every": 3, "levels": 2, "gradient_rows": 4, "forward_rows": 4, "record_rows": True}
SAVES: dict[str, Any] = {"save_strategy": "steps", "save_steps": SAVED, "max_steps": STEPS}


def run(case: Case) -> None:
    """Two proofs, each with runs of its own."""
    with case.attempt("kill and resume"):
        _killed(case)
    with case.attempt("measuring changes no loss"):
        _unchanged(case)


def _killed(case: Case) -> None:
    whole = train(configured(case, "whole", "smollm2", ADAPTS, **SAVES))
    plugin = {"plugins": ["benchmarks.gpu.meter.KillPlugin"]}
    config = configured(case, "killed", "smollm2", ADAPTS, auto_resume_from_checkpoints=True, **SAVES)
    dies = configured(case, "killed", "smollm2", ADAPTS, **SAVES, **plugin)
    command = [sys.executable, "-m", "axolotl.cli.main", "train", str(saved(dies))]
    environment = {**os.environ, KILLED_AFTER: str(KILLED)}
    done = subprocess.run([*command, "--launcher", "python"], env=environment, check=False)  # noqa: S603 our own
    case.expect("the process is killed", holds=done.returncode == -signal.SIGKILL, code=done.returncode)
    resumed = train(config)
    rows = [(run.folder / ROWS_FILE).read_text() for run in (whole, resumed)]
    case.expect("a killed run goes on with the same rows", holds=rows[0] == rows[1])
    pairs = [*zip(whole.losses[SAVED:], resumed.losses[-(STEPS - SAVED) :], strict=True)]
    worst = max(abs(one - other) for one, other in pairs)
    case.expect(f"and its losses are within {APART} nats", holds=worst < APART, worst_nats=worst)


def _unchanged(case: Case) -> None:
    """Weights that stay at the prior, dropout on, and probes every few steps or never."""
    still = {**ADAPTS, "floor": 1.0, "signals": "probe", "max_epochs": None}
    adapter = {**LORA, "lora_dropout": 0.3, "max_steps": STEPS}
    never, often = (
        train(configured(case, f"every-{every}", "smollm2", {**still, "update_every": every}, **adapter))
        for every in (1000, 3)
    )
    worst = max(abs(one - other) for one, other in zip(never.losses, often.losses, strict=True))
    bound = 1e-9 if case.small else APART
    case.expect(f"probes change no loss by more than {bound:g} nats", holds=worst < bound, worst_nats=worst)
