"""The search: short trials of every candidate, then full runs of those that were nominated, on seeds that chose nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.outcome import compared
from hbo_plugin.compare.runs import planned
from hbo_plugin.compare.work import shortened
from hbo_plugin.messages import listed
from hbo_plugin.method_args import STATIC
from hbo_plugin.methods.prior import TEMPERATURE
from hbo_plugin.search.candidates import Candidate, Shares, priors, split
from hbo_plugin.search.trials import Trial, best, best_together, is_behind, tried

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hbo_plugin.compare.outcome import ArmOutcome, Comparison
    from hbo_plugin.compare.runs import PlannedRun
    from hbo_plugin.compare.study import Study

CHANCE = 0.01
"""A candidate is named where chance alone would bring its difference so rarely, corrected for their number.

Less strict than this, too many are named that are no better on further seeds; docs/evidence.md has the counts.
"""


@dataclass(frozen=True)
class Round:
    """Trials of some candidates.

    Attributes:
        trials: that came to a number.
        failed: runs that did not, by name.
        nominated: the best trial, by held-out set.
    """

    trials: tuple[Trial, ...]
    failed: tuple[str, ...]
    nominated: dict[str, Trial]

    def chosen(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return those that were nominated, each once."""
        names = {trial.name for trial in self.nominated.values()}
        return [each for each in candidates if each.name in names]


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        baseline: what candidates are compared with, and stays where none is better.
        target: how much each held-out set counts.
        trial_steps: optimizer steps of a trial.
        trials: the last round of these.
        confirmed: the full runs; None where nothing was nominated.
        chosen: the candidate that is better beyond `CHANCE`; None where none is.
        prior: of that candidate, as `hbo.prior` takes it.
    """

    baseline: str
    target: dict[str, float]
    trial_steps: int
    trials: Round
    confirmed: Comparison | None = None
    chosen: str | None = None
    prior: Any = None

    @property
    def better(self) -> list[ArmOutcome]:
        """The candidates that full runs call better, as they would in a comparison."""
        return [arm for arm in self.confirmed.arms if arm.verdict == "better"] if self.confirmed else []


def find(study: Study, *, seeds: int, trial_seeds: int, shorter: int, floor: float, budget: int | None) -> Found | None:
    """Search; None where `--list` or `--only` left something to train.

    Raises:
        ValueError: what training would refuse, or a search of more runs than the budget has.
    """
    base, given = study.read()
    out = study.out or study.config.parent / "search"
    (static,) = find_arms(given, (), {}, STATIC, controls=False)
    block = {key: value for key, value in static.block.items() if key not in {"method", "prior", "weights"}}
    plan = study.plan(base, block | {"method": STATIC}, out)
    if plan.steps < 2 * shorter:
        msg = f"`--shorter {shorter}` was given, but the run has {plan.steps} steps: give a smaller number."
        raise ValueError(msg)
    rest = [each.name for each in plan.datasets if not each.counted]
    if rest and not given.get("target"):
        msg = (
            f"`hbo.target` is missing, and {listed(rest)} have no held-out rows: name what the run should be good at, or hold "
            f"out rows of all."
        )
        raise ValueError(msg)
    # Without a target all sets are halved: one half of each chooses, the other judges.
    block["target"] = dict(plan.target)
    first = base.get("seed") or 0
    tries, confirms = range(first, first + trial_seeds), range(first + trial_seeds, first + trial_seeds + seeds)
    steps = plan.steps // shorter // 2 * 2
    stage = _Trials(study, *_of_trials(base, block, steps, plan.steps), tries, out / "trials", plan.target)
    shares = Shares.of(plan, floor) if rest else None
    if shares:
        candidates = [shares.even, *map(shares.candidate, split(rest))]
    else:
        candidates = priors(given.get("weights", given.get("prior", TEMPERATURE)))
    _tell(len(candidates) * trial_seeds, steps, seeds, plan.steps, budget)
    trials = stage.of_datasets(shares, candidates) if shares else stage.of_priors(candidates)
    if trials is None:
        return None
    found = Found(candidates[0].name, plan.target, steps, trials)
    chosen = trials.chosen(stage.tried)
    if not chosen:
        return found
    if shares and len(chosen) > 1:
        chosen.append(shares.candidate([each.datasets[0] for each in chosen]))
    runs = _runs(block, [candidates[0], *chosen], confirms, out / "confirm")
    if not study.train(runs, base):
        return None
    confirmed = compared(runs, candidates[0].name)
    found = replace(found, confirmed=confirmed)
    sure = [arm for arm in found.better if arm.p is not None and arm.p <= CHANCE]
    if not sure:
        return found
    best_arm = min(sure, key=lambda arm: arm.target).arm
    prior = next(each.prior for each in chosen if each.name == best_arm)
    return replace(found, chosen=best_arm, prior=prior)


class _Trials:
    """The short runs, round by round."""

    def __init__(
        self,
        study: Study,
        base: dict[str, Any],
        block: dict[str, Any],
        seeds: Sequence[int],
        out: Path,
        target: dict[str, float],
    ) -> None:
        self._study, self._base, self._block = study, base, block
        self._seeds, self._out, self._target = seeds, out, target
        self.tried: list[Candidate] = []
        """The candidates of the last round."""

    def of_datasets(self, shares: Shares, candidates: list[Candidate]) -> Round | None:
        """Try groups of datasets, then those in the groups that are best for a held-out set, until each stands alone."""
        while trials := self._trained(candidates):
            found = Round(*trials, best(trials[0], self._target))
            chosen = found.chosen(candidates)
            if all(len(each.datasets) == 1 for each in chosen):
                return found
            groups = [*dict.fromkeys(group for each in chosen for group in split(each.datasets))]
            candidates = [shares.even, *map(shares.candidate, groups)]
        return None

    def of_priors(self, candidates: list[Candidate]) -> Round | None:
        """Try all, of which the best for the whole target is nominated."""
        if trials := self._trained(candidates):
            one = best_together(trials[0], self._target)
            return Round(*trials, {"the target": one} if one else {})
        return None

    def _trained(self, candidates: list[Candidate]) -> tuple[tuple[Trial, ...], tuple[str, ...]] | None:
        """Train them, the first of which is the baseline; None where something is left to train."""
        self.tried = candidates
        runs = _runs(self._block, candidates, self._seeds, self._out)
        baseline, steps = candidates[0].name, self._base["max_steps"]

        def hopeless(run: PlannedRun) -> bool:
            return is_behind(run.arm.name, runs, baseline, self._target, steps)

        if not self._study.train(runs, self._base, last=False, hopeless=hopeless):
            return None
        return tried(runs, baseline, self._target, steps)


def _of_trials(
    base: dict[str, Any], block: dict[str, Any], steps: int, whole: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration of a trial of so many steps, which is also evaluated at its middle, and its `hbo:` block."""
    rest, of_hbo = shortened(base, block, steps, whole)
    rest = {key: value for key, value in rest.items() if key not in {"eval_strategy", "evals_per_epoch"}}
    return rest | {"eval_steps": steps // 2}, of_hbo


def _runs(block: dict[str, Any], candidates: Sequence[Candidate], seeds: Sequence[int], out: Path) -> list[PlannedRun]:
    changes = {each.name: each.changes for each in candidates}
    return planned(find_arms(block, (), changes, candidates[0].name, controls=False), seeds, out)


def _tell(trials: int, steps: int, seeds: int, whole: int, budget: int | None) -> None:
    """Say what the search will cost."""
    # Two sets of a target may nominate two datasets, which are tried apart and together beside the baseline.
    least, most = trials + 2 * seeds, trials + 4 * seeds
    click.echo(
        f"{trials} trials of {steps:,} steps, then {2 * seeds} to {4 * seeds} runs of {whole:,} to confirm the best: as much as "
        f"{trials * steps / whole + 2 * seeds:.1f} to {trials * steps / whole + 4 * seeds:.1f} whole runs.",
        err=True,
    )
    if budget is not None and most > budget:
        msg = (
            f"`--budget {budget}` was given, but the search takes {least} to {most} runs: raise it, or lower `--seeds` or "
            f"`--trial-seeds`."
        )
        raise ValueError(msg)
