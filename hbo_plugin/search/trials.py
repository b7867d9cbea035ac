"""What trials came to: for each candidate and held-out set, how far the rows that steer are from those of the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hbo_plugin.compare import runs as at
from hbo_plugin.compare.statistics import paired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.compare.statistics import Difference


@dataclass(frozen=True)
class Trial:
    """What a candidate did.

    Attributes:
        name: of the candidate.
        sets: by held-out set of the target, the difference of its steering rows from the baseline, nats per token; below 0
            it helped.
        outside: the mean difference of all held-out sets that do not count; None where there are none.
    """

    name: str
    sets: dict[str, Difference]
    outside: float | None


def tried(
    runs: Sequence[PlannedRun], baseline: str, target: Mapping[str, float]
) -> tuple[tuple[Trial, ...], tuple[str, ...]]:
    """Return the trials that ended, and the names of runs that did not, or whose loss was no number.

    Raises:
        ValueError: no run of the baseline can be compared with.
    """
    found: dict[str, dict[int, dict[str, float]]] = {}
    outside: dict[str, dict[int, float]] = {}
    missing = []
    for run in runs:
        history = at.history(run.folder)
        last = history.evaluations[-1] if history and history.ended and history.evaluations else None
        if last is None or not all(math.isfinite(last.steering.get(name, math.nan)) for name in target):
            missing.append(run.name)
            continue
        found.setdefault(run.arm.name, {})[run.seed] = last.steering
        others = [loss for name, loss in last.losses.items() if name not in target and math.isfinite(loss)]
        if others:
            outside.setdefault(run.arm.name, {})[run.seed] = fmean(others)
    if baseline not in found:
        msg = f"no trial of `{baseline}` ended with a number, and all others are compared with it; see {', '.join(missing)}."
        raise ValueError(msg)
    trials = []
    for name, by_seed in found.items():
        seeds = sorted(by_seed.keys() & found[baseline].keys())
        if name == baseline or not seeds:
            continue
        sets = {each: paired([by_seed[seed][each] - found[baseline][seed][each] for seed in seeds]) for each in target}
        both = [seed for seed in seeds if seed in outside.get(name, {}) and seed in outside.get(baseline, {})]
        gaps = [outside[name][seed] - outside[baseline][seed] for seed in both]
        trials.append(Trial(name, sets, fmean(gaps) if gaps else None))
    return tuple(trials), tuple(missing)


def best(trials: Sequence[Trial], target: Mapping[str, float]) -> dict[str, Trial]:
    """Return, for each held-out set of the target, the trial that lowers its loss most; a set that none lowers has none.

    In short trials only the first rank says much, so no more than one is taken.
    """
    chosen = {}
    for name in target:
        first = min(trials, key=lambda trial, name=name: trial.sets[name].mean, default=None)  # type: ignore[misc]
        if first is not None and first.sets[name].mean < 0:
            chosen[name] = first
    return chosen


def best_together(trials: Sequence[Trial], target: Mapping[str, float]) -> Trial | None:
    """Return the trial that lowers the loss of the whole target most; None where none does."""

    def mean(trial: Trial) -> float:
        return sum(share * trial.sets[name].mean for name, share in target.items())

    first = min(trials, key=mean, default=None)
    return first if first is not None and mean(first) < 0 else None
