"""Branches: what is left beside the datasets that count goes to those that a branch of the run showed to help."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.messages import listed, yaml_text
from hbo_plugin.methods.base import BranchPlan, RunFacts
from hbo_plugin.methods.parameters import Moment, Share, step_of
from hbo_plugin.methods.prior import TEMPERATURE, Prior, prior_weights
from hbo_plugin.methods.reading import read_signal
from hbo_plugin.methods.state import from_json, of_sets, to_json

_FEWEST = 10
"""Steps of a branch below which even a dataset that helps was not told from the others."""
_LEAST_LEFT = 0.01
"""Share of the run below which there is nothing to give to a dataset that helps, and no branch could show it."""
_CHANCE = 0.1
"""That a set of the target names a dataset though none differs from the others."""


@dataclass(frozen=True, kw_only=True)
class BranchesSettings:
    """The settings of `branches`."""

    prior: Prior = TEMPERATURE
    branch_at: Annotated[
        Moment | list[Moment],
        Field(description="The steps after which branches are trained, one or a list; below 1 a share of the run."),
    ] = 0.25
    branch_steps: Annotated[
        int, Field(ge=2, description="Optimizer steps of a branch, fewer where `branch_budget` asks for it.")
    ] = 40
    branch_budget: Annotated[
        float, Field(gt=0, description="Optimizer steps of all branches together, as a share of those of the run.")
    ] = 0.75
    even: Annotated[
        Share,
        Field(description="How much of what is left beside the datasets that count stays as the prior has it."),
    ] = 0.25


class Branches:
    """Datasets that count stay at their prior; what is left goes to those that a branch of the run showed to help.

    After the steps `branch_at`, a copy of the run is trained for each dataset that does not count, on the datasets that
    count as before and, for all the rest, on this one alone. One more copy stays as the run is. Then each set of the
    target names the dataset after whose branch its loss was lowest, if that

    * is no higher than in the branch that stays as it is, and
    * stands apart from the branches of the other datasets: it lies below their mean by more than chance explains, from the
      spread among these branches and the error of the paired rows, corrected for the number of datasets.

    Effects of several moments add up. Each set of the target has its share of what is left to give: all of it to the dataset
    that it names; or, where it names none, as the prior has it, tilted by a factor of e for each standard deviation of the
    effects, so that it does not pay for what another set names. And `even` of all that is left stays as the prior has it.

    Source: ours.
    """

    Settings: ClassVar[type] = BranchesSettings
    signals = ("branch_effect", "branch_error")

    def __init__(self, rows: NDArray[np.int64], settings: BranchesSettings, run: RunFacts) -> None:
        self._rows, self._settings, self._run = rows, settings, run
        self._prior = prior_weights(settings.prior, rows.sum(axis=1), run.names)
        self._free = np.array([name not in run.counted for name in run.names], np.bool_)
        if not self._free.any():
            message = (
                f"`method: branches` looks for datasets that help those that count, but {listed(run.names)} all count; "
                "name in `hbo.target` what the run should be good at, or set `method: static`."
            )
            raise ValueError(message)
        self._effects = np.zeros((len(rows), len(run.target)))
        """Sums over moments, float64[datasets, sets of the target]; so are the squares of their errors."""
        self._squares = np.zeros_like(self._effects)
        self._looks = np.zeros_like(self._effects)
        """How many moments each is of."""

    def branches(self, steps: int) -> BranchPlan:
        """Return when branches are trained in a run of so many steps, and for how long; ValueError where it is too short."""
        settings = self._settings
        left = float(self._prior[self._free].sum())
        if left < _LEAST_LEFT:
            message = (
                f"`method: branches` shares out what the datasets that count leave of the run, but that is {left:.1%}; lower "
                f"`hbo.max_epochs`, train longer, or write a `prior`."
            )
            raise ValueError(message)
        given = settings.branch_at if isinstance(settings.branch_at, list) else [settings.branch_at]
        moments = tuple(sorted({step_of(moment, steps) for moment in given}))
        at_once = 1 + int((self._free & (self._prior > 0)).sum())
        branches = len(moments) * at_once
        length = min(settings.branch_steps, int(settings.branch_budget * steps / max(1, branches)))
        fewest = min(_FEWEST, settings.branch_steps)
        if length < fewest:
            message = (
                f"`hbo.branch_budget: {settings.branch_budget:g}` leaves {length} steps for each of {branches} branches in a "
                f"run of {steps} steps, but a branch needs {fewest}; set it to {math.ceil(100 * fewest * branches / steps) / 100:g}"
                f", train for {math.ceil(fewest * branches / settings.branch_budget)} steps, or mix fewer datasets."
            )
            raise ValueError(message)
        if not moments or moments[0] < 1 or moments[-1] + length > steps:
            message = (
                f"`hbo.branch_at: {yaml_text(settings.branch_at)}` was given, but branches of {length} steps begin after the first "
                f"of {steps} steps and end by the last; change it."
            )
            raise ValueError(message)
        return BranchPlan(moments, at_once, length)

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels]; levels follow their rows."""
        rest = np.where(self._free, self._prior, 0.0)
        left, even = rest.sum(), rest / rest.sum()
        effects, errors = self._means()
        given = [
            _tilted(even, *pair) if name is None else np.eye(len(even))[name]
            for name, *pair in zip(self.named(), effects.T, errors.T, strict=True)
        ]
        helped = np.average(given, axis=0, weights=self._run.target_shares) if given else even
        datasets = self._prior - rest + left * (self._settings.even * even + (1 - self._settings.even) * helped)
        return np.asarray((datasets / self._rows.sum(axis=1))[:, None] * self._rows)

    def named(self) -> list[int | None]:
        """The number of the dataset that each set of the target names; None where it names none."""
        effects, errors = self._means()
        return [_apart(*pair) for pair in zip(effects.T, errors.T, strict=True)]

    def _means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean effects over moments and their errors, float64[datasets, sets of the target]; NaN where none was measured."""
        with np.errstate(invalid="ignore"):
            return self._effects / self._looks, np.sqrt(self._squares) / self._looks

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Take the effects of the branches of one moment; ValueError where a signal is missing or has the wrong shape."""
        sets = len(self._run.target)
        effects, errors = (read_signal(signals, name, self._rows.shape, sets) for name in self.signals)
        known = np.isfinite(effects) & np.isfinite(errors)
        self._effects = self._effects + np.where(known, effects, 0)
        self._squares = self._squares + np.where(known, errors, 0) ** 2
        self._looks = self._looks + known

    def state_dict(self) -> dict[str, Any]:
        """Return the sums of the effects and of their squared errors, of how many moments, and the sets of the target."""
        sums = {"effects": self._effects, "squares": self._squares, "looks": self._looks}
        return {"target": [*self._run.target], **{name: to_json(values) for name, values in sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        saved, names = state.get("target", ()), [*self._run.target]
        self._effects, self._squares, self._looks = (
            of_sets(from_json(state, name, (len(self._rows), len(saved))), saved, names, 0.0)
            for name in ("effects", "squares", "looks")
        )


def _apart(effects: NDArray[np.float64], errors: NDArray[np.float64]) -> int | None:
    """The dataset of the lowest effect where that stands apart; both are float64[datasets], NaN where not measured."""
    known = np.flatnonzero(np.isfinite(effects))
    if not known.size:
        return None
    best = known[effects[known].argmin()]
    others = effects[known[known != best]]
    if others.size < 2:  # of which no spread can be told
        return int(best) if effects[best] < -_bound(known.size) * errors[best] else None
    spread = math.hypot(errors[best], others.std(ddof=1) * math.sqrt(1 + 1 / others.size))
    apart = others.mean() - effects[best] > _bound(known.size, others.size - 1) * spread
    return int(best) if apart and effects[best] <= 0 else None


def _tilted(
    even: NDArray[np.float64], effects: NDArray[np.float64], errors: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shares that fall by a factor of e for each standard deviation that an effect lies above another; all float64[datasets].

    The deviation is that of all measured effects and of their rows' errors, so that chance alone tilts them little.
    """
    known = np.isfinite(effects)
    if known.sum() < 2:
        return even
    noise = math.hypot(effects[known].std(ddof=1), math.sqrt(np.mean(errors[known] ** 2)))
    centred = np.where(known, effects - effects[known].mean(), 0.0)
    tilted = even * np.exp(-centred / max(noise, 1e-12))
    return np.asarray(tilted / tilted.sum())


def _bound(datasets: int, freedom: float = math.inf) -> float:
    """How many standard errors the best of so many datasets lies apart by chance, once in ten times.

    By Student's distribution where the error is estimated with so many degrees of freedom; above 2 from the expansion of its
    quantile in their reciprocal (Abramowitz and Stegun 26.7.5), which is 2% too small at 3 and closer from there on.
    """
    chance = _CHANCE / datasets
    if freedom == 1:
        return 1 / math.tan(math.pi * chance)
    if freedom == 2:
        return (1 - 2 * chance) / math.sqrt(2 * chance * (1 - chance))
    z = NormalDist().inv_cdf(1 - chance)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))
