"""Plugins of Axolotl for the acceptance run: one measures each step, the other kills the process after one."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

from hbo_plugin.devices import settle

FILE = "meter.json"
KILLED_AFTER = "HBO_KILLED_AFTER"
"""The environment variable that names the step after which the process dies."""


class _Meter(TrainerCallback):
    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._seconds: list[float] = []
        self._hbo: list[float] = []
        self._last = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._last = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        settle()
        now, run = time.perf_counter(), getattr(self._trainer, "hbo", None)
        self._seconds.append(now - self._last)
        self._hbo.append(run.clock.total - run.clock.seconds["loading"] if run else 0.0)
        self._last = now

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        measured = {
            "seconds": self._seconds,
            "hbo": self._hbo,
            "losses": [line["loss"] for line in state.log_history if "loss" in line],
            "peak": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        }
        Path(args.output_dir, FILE).write_text(json.dumps(measured))


class MeterPlugin(BasePlugin):
    """Writes `FILE` into the output folder; the last plugin, so that a step has what the others do after it."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """Watch a trainer."""
        return [_Meter(trainer)]


class _Kill(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == int(os.environ[KILLED_AFTER]):
            os.kill(os.getpid(), signal.SIGKILL)


class KillPlugin(BasePlugin):
    """Kills its own process after the step that `KILLED_AFTER` names."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """Watch a trainer."""
        return [_Kill()]
