"""The result of a run that has ended: its losses, read from its trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.compare.plain import PlainRun
from hbo_plugin.trace import costs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.history import History


@dataclass(frozen=True)
class RunResult:
    """A run that has ended.

    Attributes:
        arm: its name.
        seed: of the run.
        steps: that it made.
        target: loss of the target at the end, on rows that steered nothing; nats per token.
        losses: of each held-out set, the same.
        tokens: that it learned to predict; None where nobody counted them.
        course: of each evaluation the step, these tokens so far and the loss of the target.
        seconds: that its training took.
    """

    arm: str
    seed: int
    steps: int
    target: float
    losses: dict[str, float]
    tokens: float | None
    course: tuple[tuple[int, float, float], ...]
    seconds: float | None


Results = dict[tuple[str, int], RunResult]
"""By arm and seed."""


def results_of(runs: Sequence[PlannedRun]) -> Results:
    """Return what those of the runs came to that have ended.

    Raises:
        ValueError: one was not evaluated at its end.
    """
    return {(run.arm.name, run.seed): result for run in runs if (result := _result(run))}


def _result(run: PlannedRun) -> RunResult | None:
    found = run.history()
    if found is None or not found.ended:
        return None
    if isinstance(run, PlainRun):
        return _measured(run, found)
    last = found.states[-1]
    if not found.evaluations or found.evaluations[-1].step != last.step:
        msg = f"`{run.folder}` was not evaluated after its last step, so nothing can be compared; make the run again."
        raise ValueError(msg)
    end = found.evaluations[-1]
    trained = [sum(map(sum, state.trained_tokens.values())) for state in found.states]
    steps = [state.step for state in found.states]
    course = [(each.step, float(np.interp(each.step, steps, trained)), each.target) for each in found.evaluations]
    spent = costs(run.folder)
    return RunResult(
        arm=run.arm.name,
        seed=run.seed,
        steps=last.step,
        target=end.target,
        losses=end.losses,
        tokens=trained[-1],
        course=tuple(course),
        seconds=spent[1] if spent else None,
    )


def _measured(run: PlainRun, found: History) -> RunResult:
    """Of a run without hbo, whose model was evaluated before the first step of its measuring."""
    first = next((each for each in found.evaluations if each.step == 0), None)
    if first is None:
        msg = f"`{run.traced}` was not evaluated before its first step, so nothing was measured; remove it, and measure again."
        raise ValueError(msg)
    return RunResult(run.arm.name, run.seed, run.steps, first.target, first.losses, None, (), None)
