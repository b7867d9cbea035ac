"""What trials came to: for each candidate and held-out set, how far the rows that steer are from those of the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hbo_plugin.compare.statistics import paired

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.compare.statistics import Difference
    from hbo_plugin.history import Evaluation


@dataclass(frozen=True)
class Trial:
    """What a candidate did.

    Attributes:
        name: of the candidate.
        sets: by held-out set of the target, the difference of its steering rows from the baseline, nats per token; below 0
            it helped.
        outside: the mean difference of all held-out sets that do not count; None where there are none.
        others: by each of these sets, its difference.
        given_up: whether it was ended at half of its steps, at which it is compared then.
    """

    name: str
    sets: dict[str, Difference]
    outside: float | None
    others: dict[str, Difference]
    given_up: bool = False

    @property
    def told(self) -> str:
        """The name, and whether it was given up."""
        return f"{self.name}, at half" if self.given_up else self.name


def is_behind(
    candidate: str, runs: Sequence[PlannedRun], baseline: str, target: Mapping[str, float], steps: int
) -> bool:
    """Whether a candidate was worse than the baseline for each held-out set of the target at half of so many steps.

    With several seeds, one is enough.
    """
    even = {run.seed: run for run in runs if run.arm.name == baseline}
    pairs = [(run, even[run.seed]) for run in runs if run.arm.name == candidate != baseline]
    for pair in pairs:
        ours, theirs = (_evaluation(run, steps // 2) for run in pair)
        if ours and theirs and worse_for_each(target, ours.steering, theirs.steering):
            return True
    return False


def worse_for_each(target: Iterable[str], ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Whether each held-out set of the target has a greater loss; one that is no number is not greater."""
    return all(ours.get(name, math.nan) > theirs[name] for name in target)


def _evaluation(run: PlannedRun, step: int) -> Evaluation | None:
    """After a step; None where the run has not come so far."""
    history = run.history()
    return next((each for each in history.evaluations if each.step == step), None) if history else None


def tried(
    runs: Sequence[PlannedRun], baseline: str, target: Mapping[str, float], steps: int
) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """Return what each candidate came to in so many steps, and the names of runs that came to no number.

    Raises:
        ValueError: no run of the baseline can be compared with.
    """

    def evaluations(candidate: str, step: int) -> tuple[dict[int, Evaluation], list[str]]:
        found, missing = {}, []
        for run in runs:
            if run.arm.name == candidate:
                each = _evaluation(run, step)
                if each and all(math.isfinite(each.steering.get(name, math.nan)) for name in target):
                    found[run.seed] = each
                else:
                    missing.append(run.name)
        return found, missing

    even, missing = evaluations(baseline, steps)
    if not even:
        msg = f"no trial of `{baseline}` ended with a number, and all others are compared with it; see {', '.join(missing)}."
        raise ValueError(msg)
    trials = []
    for name in dict.fromkeys(run.arm.name for run in runs if run.arm.name != baseline):
        given_up = is_behind(name, runs, baseline, target, steps)
        ours, without = evaluations(name, steps // 2 if given_up else steps)
        theirs = evaluations(baseline, steps // 2)[0] if given_up else even
        missing += [] if given_up else without
        if seeds := sorted(ours.keys() & theirs.keys()):
            pairs = [(ours[seed], theirs[seed]) for seed in seeds]
            sets = {
                each: paired([one.steering[each] - other.steering[each] for one, other in pairs]) for each in target
            }
            others = _others(pairs, target)
            outside = fmean(each.mean for each in others.values()) if others else None
            trials.append(Trial(name, sets, outside, others, given_up))
    return tuple(trials), tuple(missing)


def _others(pairs: Sequence[tuple[Evaluation, Evaluation]], target: Mapping[str, float]) -> dict[str, Difference]:
    """Return the difference of each held-out set that does not count, and was a number in all runs."""
    names = [name for name in pairs[0][0].losses if name not in target]
    made = {name: paired([one.losses[name] - other.losses[name] for one, other in pairs]) for name in names}
    return {name: each for name, each in made.items() if math.isfinite(each.mean)}


def best(trials: Sequence[Trial], target: Mapping[str, float]) -> dict[str, Trial]:
    """Return, for each held-out set of the target, the trial that lowers its loss most; a set that none lowers has none.

    In short trials only the first rank says much, so no more than one is taken.
    """
    whole, chosen = _whole(trials), {}
    for name in target:
        first = min(whole, key=lambda trial, name=name: trial.sets[name].mean, default=None)  # type: ignore[misc]
        if first is not None and first.sets[name].mean < 0:
            chosen[name] = first
    return chosen


def best_together(trials: Sequence[Trial], target: Mapping[str, float]) -> Trial | None:
    """Return the trial that lowers the loss of the whole target most; None where none does."""

    def mean(trial: Trial) -> float:
        return sum(share * trial.sets[name].mean for name, share in target.items())

    first = min(_whole(trials), key=mean, default=None)
    return first if first is not None and mean(first) < 0 else None


def _whole(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if not trial.given_up]
