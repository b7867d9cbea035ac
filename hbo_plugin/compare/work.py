"""The work of a comparison: a shorter stand-in on request, every arm looked at first, then the runs, some at once."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import TYPE_CHECKING, Any

import click

from hbo_plugin.args import HBOConfig
from hbo_plugin.compare import runs as at
from hbo_plugin.messages import Refusals, encodable
from hbo_plugin.trace import TRACE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hbo_plugin.check.plan import Plan
    from hbo_plugin.compare.runs import Launch, PlannedRun

_UPDATE_EVERY = HBOConfig.model_fields["update_every"].default
_COUNT_STEPS = ("warmup_steps", "eval_steps", "save_steps")
_LAST_LINES = 15
"""Of the log of a run that failed."""


def shortened(
    base: Mapping[str, Any], block: Mapping[str, Any], steps: int, whole: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and its `hbo:` block for a stand-in of so many steps: what counts in steps shrinks alike."""

    def scaled(value: Any) -> Any:
        return value if value is None or value < 1 else max(1, math.ceil(value * steps / whole))

    rest = {key: scaled(value) if key in _COUNT_STEPS else value for key, value in base.items()}
    of_hbo = {key: scaled(value) if key in {"update_every", "hold_steps"} else value for key, value in block.items()}
    return rest | {"max_steps": steps}, {"update_every": scaled(_UPDATE_EVERY), **of_hbo}


def look_at(runs: Sequence[PlannedRun], base: Mapping[str, Any], ranks: int) -> None:
    """Look at one run of each arm that has none yet, so that no arm is refused after hours of others; this prepares the data.

    Raises:
        ValueError: what training would refuse, or arms that other rows judge.
    """
    begun = {run.arm.name for run in runs if (run.traced / TRACE_FILE).exists()}
    firsts = {run.arm.name: run for run in reversed(runs) if run.replayed is None and run.arm.name not in begun}
    refused, judges = [], {}
    for name, run in firsts.items():
        try:
            judges[name] = plan_of(run.write_config(base), ranks).judges
        except Refusals as error:  # noqa: PERF203 each may be refused
            refused += [f"the arm `{name}`: {refusal}" for refusal in error.found]
    if refused:
        raise Refusals(refused)
    _check_judges(judges)


def _check_judges(judges: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse arms of which one looks at half of a held-out set by which another is judged; rows of each set, by arm."""
    for (name, rows), (other, theirs) in pairwise(judges.items()):
        for held_out, count in rows.items():
            if count != theirs[held_out]:
                msg = (
                    f"held-out set `{held_out}` judges `{name}` by {count} rows and `{other}` by {theirs[held_out]}, as one of "
                    f"them looks at the rest: set `hbo.target`, or `hbo.record_steering: true`, which halves each set for all."
                )
                raise ValueError(msg)


def plan_of(config: Path, ranks: int) -> Plan:
    """Return what a configuration would do.

    Raises:
        ValueError: training would refuse it, or nothing is held out.
    """
    from hbo_plugin.check.look import look

    found = look(config, ranks)
    if found.plan is None:
        raise Refusals(found.refusals)
    if not found.plan.target:
        msg = "nothing is held out, so nothing can be compared; set `test_datasets` or `val_set_size`."
        raise ValueError(msg)
    return found.plan


def cards(jobs: int) -> list[str | None]:
    """Return the GPU of each of so many jobs; None where there is none, or where one job may use all.

    Raises:
        ValueError: there are fewer.
    """
    if jobs == 1:
        return [None]
    import torch

    count = torch.cuda.device_count()
    if not count:
        return [None] * jobs
    if jobs > count:
        msg = f"`--jobs {jobs}` was given, but this machine has {count} GPUs: give as many jobs, or fewer."
        raise ValueError(msg)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [*(visible.split(",") if visible else map(str, range(count)))][:jobs]


class Work:
    """Trains the runs that have not ended, each when it can be, and tells of each."""

    def __init__(self, runs: Sequence[PlannedRun], base: Mapping[str, Any], launch: Launch) -> None:
        """Begin nothing yet."""
        self._waiting = [run for run in runs if not run.finished]
        self._base, self._launch = base, launch
        self._total, self._done, self._seconds = len(self._waiting), 0, 0.0
        self._lock = Lock()
        self.failed: list[str] = []
        """Runs that did not end well, by name."""

    def train(self, on: Sequence[str | None]) -> None:
        """Train them all, as many at once as there are cards."""
        with ThreadPoolExecutor(len(on)) as pool:
            for worker in [pool.submit(self._work, card, len(on)) for card in on]:
                worker.result()

    def _work(self, card: str | None, jobs: int) -> None:
        while run := self._next():
            begun = time.monotonic()
            ended = self._launch.gives_up(run) or self._launch.train(run, run.write_config(self._base), card)
            with self._lock:
                self._tell(run, ended, time.monotonic() - begun, jobs)

    def _next(self) -> PlannedRun | None:
        with self._lock:
            run = next((run for run in self._waiting if run.ready), None)
            if run:
                self._waiting.remove(run)
            return run

    def _tell(self, run: PlannedRun, ended: bool | None, seconds: float, jobs: int) -> None:  # noqa: FBT001 what a run came to
        self._done += 1
        self._seconds += seconds
        place = f"{self._done} of {self._total}"
        if self._launch.gives_up(run):
            click.echo(f"{run.name}: given up, as it is clearly behind ({place})", err=True)
        elif ended:
            left = self._seconds / self._done * (self._total - self._done) / jobs
            click.echo(f"{run.name}: ended after {_told(seconds)} ({place}); about {_told(left)} to go", err=True)
        elif ended is None:
            click.echo(f"{run.name}: left to another process, which trains it ({place})", err=True)
        else:
            self.failed.append(run.name)
            log = run.folder / at.LOG_FILE
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
            click.echo(f"{run.name}: failed after {_told(seconds)} ({place}). The end of `{log}`:", err=True)
            click.echo(encodable("\n".join(f"  {line}" for line in lines)), err=True)


def _told(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
