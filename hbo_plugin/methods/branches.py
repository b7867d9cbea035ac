"""Branches: what is left beside the datasets that count goes to those that a branch of the run showed to help."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.messages import listed, yaml_text
from hbo_plugin.methods.base import AS_IT_IS, BranchPlan, RunFacts
from hbo_plugin.methods.parameters import Moment, Share, step_of
from hbo_plugin.methods.prior import TEMPERATURE, Prior, prior_weights
from hbo_plugin.methods.reading import read_signal
from hbo_plugin.methods.state import from_json, of_sets, to_json

_FEWEST = 10
"""Steps of a branch below which even a dataset that helps was not told from the others."""
_LEAST_LEFT = 0.01
"""Share of the run below which there is nothing to give to a dataset that helps, and no branch could show it."""
_SUMS = ("effects", "errors", "noises", "looks")
"""What is added up over moments: effects, the squares of their errors and of their noise, and how many there were. Each is
float64[datasets, sets of the target]."""


@dataclass(frozen=True, kw_only=True)
class BranchesSettings:
    """The settings of `branches`."""

    prior: Prior = TEMPERATURE
    branch_at: Annotated[
        Moment | list[Moment],
        Field(description="The steps after which branches are trained, one or a list; below 1 a share of the run."),
    ] = 0.03
    branch_steps: Annotated[
        int, Field(ge=2, description="Optimizer steps of a branch, fewer where `branch_budget` asks for it.")
    ] = 12
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
    count as before and, for all the rest, on this one alone. Three more stay as the run is, on other rows of all the rest: the
    effect of a dataset on a set of the target is the loss after its branch minus their mean, and how far they lie apart is the
    noise of training. Effects of several moments are averaged.

    Each set of the target has its share of what is left, and gives it to the datasets in proportion to the prior, times
    `(1 + (gain / noise) ** 2 / f) ** ((f + 1) / 2)`: how much likelier the effect is with that gain than without any, by
    Student's t of `f` degrees of freedom. The gain is how far the effect lies below the median of all, among which the branches
    as the run is count once, with 0: some steps on a single dataset may do harm, whichever it is. The noise is that of training
    and the error of the paired rows. So a dataset that stands out of the noise gets nearly all, and where none does, little
    changes. One above the median keeps its odds, as what does harm for some steps may help in the long run, and one that was
    not measured keeps what it had. And `even` of all that is left stays as the prior has it.

    Source: ours.
    """

    Settings: ClassVar[type] = BranchesSettings
    signals = ("branch_effect", "branch_error", "branch_noise")

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
        self._sums = {name: np.zeros((len(rows), len(run.target))) for name in _SUMS}

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
        at_once = AS_IT_IS + int((self._free & (self._prior > 0)).sum())
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
        of_each_set = zip(*(self._sums[name].T for name in _SUMS), strict=True)
        given = [_shared(even, *sums) for sums in of_each_set]
        helped = np.average(given, axis=0, weights=self._run.target_shares) if given else even
        datasets = self._prior - rest + left * (self._settings.even * even + (1 - self._settings.even) * helped)
        return np.asarray((datasets / self._rows.sum(axis=1))[:, None] * self._rows)

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Take the effects of the branches of one moment; ValueError where a signal is missing or has the wrong shape."""
        sets = len(self._run.target)
        effects, errors, noises = (read_signal(signals, name, self._rows.shape, sets) for name in self.signals)
        known = np.isfinite(effects) & np.isfinite(errors) & np.isfinite(noises)
        added = (effects, errors**2, noises**2, known)
        self._sums = {
            name: self._sums[name] + np.where(known, values, 0) for name, values in zip(_SUMS, added, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the sums over moments, and the sets of the target."""
        return {"target": [*self._run.target], **{name: to_json(values) for name, values in self._sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        saved, names = state.get("target", ()), [*self._run.target]
        shape = (len(self._rows), len(saved))
        self._sums = {name: of_sets(from_json(state, name, shape), saved, names, 0.0) for name in _SUMS}


def _shared(
    even: NDArray[np.float64],
    effects: NDArray[np.float64],
    errors: NDArray[np.float64],
    noises: NDArray[np.float64],
    looks: NDArray[np.float64],
) -> NDArray[np.float64]:
    """What a set of the target gives to each dataset, of 1; all are float64[datasets].

    Args:
        even: what each would get without any effect.
        effects: sums over moments, as in `_SUMS`, and so are the others.
        errors: of squares, by the paired rows.
        noises: of squares, by training.
        looks: how many moments these are of; 0 where none was measured.
    """
    known = np.flatnonzero((looks > 0) & (even > 0))
    if not known.size:
        return even
    moments = looks[known]
    rows, training = (float(np.mean(squares[known] / moments**2)) for squares in (errors, noises))
    noise = max(rows + training, float(np.finfo(float).tiny))
    # What the rows do is known; Welch and Satterthwaite (1946) say how well the sum is.
    freedom = (AS_IT_IS - 1) * moments.min() / max(training / noise, 1e-6) ** 2
    means = effects[known] / moments
    # The 0 is that of the branches as the run is.
    gains = np.maximum(0.0, np.median([0.0, *means]) - means)
    log_odds = (freedom + 1) / 2 * np.log1p(gains**2 / (freedom * noise))
    odds = even[known] * np.exp(log_odds - log_odds.max())
    shared = even.copy()
    shared[known] = even[known].sum() * odds / odds.sum()
    return shared
