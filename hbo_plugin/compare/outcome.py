"""What a comparison came to: the losses of its runs, each against the baseline's run with the same seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.compare.results import results_of
from hbo_plugin.compare.statistics import Difference, holm, paired, seeds_to_settle, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.compare.results import Results, RunResult
    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.compare.statistics import Verdict

_SAME_TOKENS = 0.01
"""Runs whose trained tokens differ by no more than this share are at equal tokens as they are."""
_NEAR = 0.25
"""A loss between two evaluations is read where they are no further apart than this share of the tokens so far."""


@dataclass(frozen=True)
class ArmOutcome:
    """What an arm came to, over the seeds that the baseline has too.

    Attributes:
        arm: its name.
        replays: the arm that it is the control of; None for every other.
        seeds: how many.
        target: mean loss of the target.
        difference: of the target from the baseline; None for the baseline itself.
        p: of that difference, corrected for the number of arms.
        verdict: in a word; None for the baseline.
        settled_by: how many seeds would settle what is inconclusive; None where that cannot be said.
        sets: the difference of each held-out set, uncorrected.
        at_equal_tokens: the difference of the target where each pair had trained on as many tokens; None where they did anyway,
            or where nobody counted them.
        from_control: of an arm that has one, its difference from its control; above 0, its timing did harm.
        seconds: mean of a run.
        course: the mean loss of the target at each step at which all its runs were evaluated.
    """

    arm: str
    replays: str | None
    seeds: int
    target: float
    difference: Difference | None
    p: float | None
    verdict: Verdict | None
    settled_by: int | None
    sets: dict[str, Difference]
    at_equal_tokens: Difference | None
    from_control: Difference | None
    seconds: float | None
    course: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The whole.

    Attributes:
        baseline: the arm that all are compared with.
        arms: that have a run with a seed of the baseline, the baseline first.
        missing: runs that have not ended, by name.
        without_number: runs whose loss was no number at the end, which are left out, by name.
        unequal_steps: whether the runs made different numbers of steps.
    """

    baseline: str
    arms: tuple[ArmOutcome, ...]
    missing: tuple[str, ...]
    without_number: tuple[str, ...]
    unequal_steps: bool


def compared(planned: Sequence[PlannedRun], baseline: str) -> Comparison:
    """Compare the runs that have ended.

    Raises:
        ValueError: a run that has ended was not evaluated at its end.
    """
    return judged(planned, results_of(planned), baseline)


def judged(planned: Sequence[PlannedRun], results: Results, baseline: str) -> Comparison:
    """Compare runs by what those of them that have ended came to."""
    ended = [(run.name, results.get((run.arm.name, run.seed))) for run in planned]
    numbers = {key: result for key, result in results.items() if math.isfinite(result.target)}
    return Comparison(
        baseline,
        _outcomes(numbers, {run.arm.name: run.arm.replays for run in planned}, baseline),
        missing=tuple(name for name, result in ended if result is None),
        without_number=tuple(name for name, result in ended if result and not math.isfinite(result.target)),
        unequal_steps=len({result.steps for result in numbers.values()}) > 1,
    )


def _outcomes(results: Results, arms: dict[str, str | None], baseline: str) -> tuple[ArmOutcome, ...]:
    def pairs(arm: str, other: str) -> list[tuple[RunResult, RunResult]]:
        seeds = sorted(
            {seed for name, seed in results if name == arm} & {seed for name, seed in results if name == other}
        )
        return [(results[arm, seed], results[other, seed]) for seed in seeds]

    against = {name: pairs(name, baseline) for name in arms}
    differences = {name: paired(_gaps(found)) for name, found in against.items() if found and name != baseline}
    judged = {name: difference.p for name, difference in differences.items() if not arms[name]}
    corrected = holm({name: p for name, p in judged.items() if p is not None})
    controls = {replayed: control for control, replayed in arms.items() if replayed}
    outcomes = []
    for name, found in against.items():
        if not found:
            continue
        difference, p = differences.get(name), corrected.get(name)
        told = verdict(difference.mean, p) if difference and not arms[name] else None
        own = pairs(name, controls[name]) if name in controls else []
        times = [ours.seconds for ours, _ in found if ours.seconds is not None]
        outcomes.append(
            ArmOutcome(
                arm=name,
                replays=arms[name],
                seeds=len(found),
                target=fmean(ours.target for ours, _ in found),
                difference=difference,
                p=p,
                verdict=told,
                settled_by=seeds_to_settle(_gaps(found), len(judged)) if told == "inconclusive" else None,
                sets=_sets(found) if difference else {},
                at_equal_tokens=_at_equal_tokens(found),
                from_control=paired(_gaps(own)) if own else None,
                seconds=fmean(times) if times else None,
                course=_course([ours for ours, _ in found]),
            )
        )
    return tuple(outcomes)


def _gaps(found: Sequence[tuple[RunResult, RunResult]]) -> list[float]:
    """Of the target, pair by pair."""
    return [ours.target - theirs.target for ours, theirs in found]


def _sets(found: Sequence[tuple[RunResult, RunResult]]) -> dict[str, Difference]:
    """By held-out set, without those that were no number in a run."""
    names = found[0][0].losses
    made = {name: paired([ours.losses[name] - theirs.losses[name] for ours, theirs in found]) for name in names}
    return {name: difference for name, difference in made.items() if math.isfinite(difference.mean)}


def _at_equal_tokens(found: Sequence[tuple[RunResult, RunResult]]) -> Difference | None:
    """Read both runs of a pair where the shorter one ended, between evaluations along a straight line."""
    both = [(ours.tokens, theirs.tokens) for ours, theirs in found if ours.tokens and theirs.tokens]
    if len(both) < len(found) or all(abs(ours / theirs - 1) <= _SAME_TOKENS for ours, theirs in both):
        return None
    gaps = []
    for pair, counts in zip(found, both, strict=True):
        tokens = min(counts)
        if any(result.course[0][1] > tokens for result in pair):
            return None  # a single evaluation, after the other run had ended
        ours, theirs = (_at(tokens, result.course) for result in pair)
        if ours is None or theirs is None:
            return None
        gaps.append(ours - theirs)
    return paired(gaps)


def _course(results: Sequence[RunResult]) -> tuple[tuple[int, float], ...]:
    """The mean loss of the target at each step at which it is known of all."""
    known = [{step: loss for step, _, loss in each.course if math.isfinite(loss)} for each in results]
    steps = sorted(set[int].intersection(*(set(losses) for losses in known)))
    return tuple((step, fmean(losses[step] for losses in known)) for step in steps)


def _at(tokens: float, course: Sequence[tuple[int, float, float]]) -> float | None:
    """None where the evaluations around it are far apart: a loss falls along no straight line."""
    _, at_tokens, losses = zip(*course, strict=True)
    after = int(np.searchsorted(at_tokens, tokens))
    if at_tokens[after] != tokens and at_tokens[after] - at_tokens[after - 1] > _NEAR * tokens:
        return None
    return float(np.interp(tokens, at_tokens, losses))
