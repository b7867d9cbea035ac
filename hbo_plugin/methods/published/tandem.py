"""TANDEM: datasets on which training beside the target's rows lowers the loss."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import moving_average, softmax
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import EmaDecay, Factor, PriorFloor
from hbo_plugin.methods.prior import TEMPERATURE, Prior
from hbo_plugin.methods.reading import read_signal
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, of_sets, to_json

_SMALLEST = 1e-6
"""Weight that a dataset keeps where the published projection takes it to 0: every dataset is drawn now and then."""


@dataclass(frozen=True, kw_only=True)
class TandemSettings:
    """The settings of `tandem`."""

    signals: ClassVar[tuple[str, ...]] = ("transfer", "transfer_variance")

    prior: Prior = TEMPERATURE
    ema_decay: EmaDecay = 0.9
    exponent: Annotated[Factor, Field(description="What a transfer of 1 adds to the logarithm of a weight.")] = 3.0
    floor: PriorFloor = 0.05

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "Shrunk":
        """Build the actor from its prior, float64[arms]."""
        return Shrunk(prior, self, run.target)


@dataclass(frozen=True, kw_only=True)
class PublishedTandemSettings:
    """The settings of `tandem` with `published: true`.

        weight <- project(weight + step_size * gain)

    where `gain` is `copy_gain` in nats, the mean over the target's sets by their shares, and `project` finds the nearest
    distribution. Nothing is averaged over updates, shrunk or anchored. The copies make 5 steps (`copy_steps`) at a penalty
    of 1, as published.

    What differs: the paper's learning rate of the weights and the number of steps between updates are not known to us;
    a weight that the projection takes to 0 stays at 1e-6; several held-out sets are each seen by a copy of their own,
    while the paper has one validation loss.

    Source: TANDEM (arXiv 2606.04401), the update of alpha.
    """

    signals: ClassVar[tuple[str, ...]] = ("copy_gain",)

    prior: Prior = "uniform"
    step_size: Annotated[
        Factor, Field(description="What a gain of one nat adds to a weight, before the projection.")
    ] = 1.0

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "Projected":
        """Build the actor from its prior, float64[arms]."""
        return Projected(prior, self, run.target_shares)


class Tandem(Single):
    """Datasets by what copies of the model find that they share with the target; levels in proportion to their rows.

        tilted_t = normalise(prior * exp(exponent * shrunk transfer to t)),  for each held-out set t of the target
        weight   = (1 - floor) * sum_t share_t * tilted_t + floor * prior

    At an update, copies of what is trained make `copy_steps` steps on the same rows, drawn as the run draws them. One copy
    sees nothing else, and one for each set t of the target sees rows of t too. `transfer` of a dataset to t is how much more
    the dataset's loss fell in the copy that saw t, over the same for t itself. This is the paper's: the two copies that
    start from the same place and have the same rate, the number of steps, the penalty of 1, and that the weight of a dataset
    follows the difference of its losses: to first order, what a little more of the dataset takes off the loss of t.

    Ours is what becomes of it. The paper adds it to the weights in nats and projects them (`published: true`). That has no
    memory of the prior and no sense of noise: of four datasets that are alike, one soon takes most. Here each pair of a
    dataset and a set has a moving average R of its transfers (`ema_decay`), and the variance V of that average from the
    standard errors of the measurements. Of how R differs from its mean over the datasets, the share

        between / (between + V),   between = max(0, variance of R over the datasets - mean of V)

    counts, which is how much of the differences is more than noise. And each set of the target pulls its own share, so
    that one set, easily moved, cannot decide for all. A set for which nothing was measured pulls to the prior; a
    dataset that was not measured counts as the mean of the others.

    The weights follow what a few steps change. Rows that steer are looked at: their loss is no longer that of unseen rows,
    which is why only the other half of a held-out set is evaluated. Where the held-out rows are of the same kind as
    all datasets, there is nothing to find.

    The paper weights the loss of each dataset, and here datasets are drawn by their weights. With `unit: row` both have
    the same expected gradient, up to the tokens of rows: a mean over tokens counts long rows more.

    Source: TANDEM (arXiv 2606.04401), Algorithm 1.
    """

    Settings: ClassVar[type] = TandemSettings
    _settings: TandemSettings | PublishedTandemSettings

    def __init__(self, rows: NDArray[np.int64], settings: TandemSettings, run: RunFacts) -> None:
        super().__init__(rows, settings, run)
        self._sets = len(run.target)

    @property
    def signals(self) -> tuple[str, ...]:
        """Those that the actor learns from."""
        return self._settings.signals

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signals, float64[signals, datasets, sets of the target]."""
        return np.stack([read_signal(signals, name, self._rows.shape, self._sets) for name in self.signals])


class Shrunk:
    """The actor with the update of `Tandem`; its prior is float64[arms], and the target has the share of each set."""

    def __init__(self, prior: NDArray[np.float64], settings: TandemSettings, target: Mapping[str, float]) -> None:
        self._prior, self._settings, self._names = prior, settings, [*target]
        self._shares = np.array([*target.values()], np.float64)
        self._transfer = np.full((prior.size, len(target)), np.nan)
        self._variance = np.full_like(self._transfer, np.nan)
        """Of `_transfer`."""

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        exponents = self._settings.exponent * self._counted()
        tilted = softmax((np.log(self._prior)[:, None] + exponents).T)
        pulled = self._prior + self._shares @ (tilted - self._prior)
        return (1 - self._settings.floor) * pulled + self._settings.floor * self._prior

    def _counted(self) -> NDArray[np.float64]:
        """How transfers differ from their mean over the arms, as far as that is more than noise, float64[arms, sets]."""
        counted = np.zeros(self._transfer.shape)
        for each, (transfer, variance) in enumerate(zip(self._transfer.T, self._variance.T, strict=True)):
            known = ~np.isnan(transfer)
            if known.sum() < 2:
                continue
            difference, noise = transfer[known] - transfer[known].mean(), variance[known]
            between = max(0.0, difference.var(ddof=1) - noise.mean())
            counted[known, each] = difference * (between / np.maximum(between + noise, np.finfo(float).tiny))
        return counted

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Average transfers, and their variances as those of an average; float64[2, arms, sets]."""
        decay = self._settings.ema_decay
        transfer, variance = np.where(np.isnan(rewards).any(axis=0) | (rewards[1] < 0), np.nan, rewards)
        self._transfer = moving_average(self._transfer, transfer, decay)
        kept = np.where(np.isnan(self._variance), variance, decay**2 * self._variance + (1 - decay) ** 2 * variance)
        self._variance = np.where(np.isnan(variance), self._variance, kept)

    def state_dict(self) -> dict[str, Any]:
        """Return the averages and their variances, None for a pair that was never measured; and the sets of the target."""
        return {"target": self._names, "transfer": to_json(self._transfer), "variance": to_json(self._variance)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        saved = state.get("target", ())
        self._transfer, self._variance = (
            of_sets(from_json(state, name, (self._prior.size, len(saved)), unmeasured=True), saved, self._names, np.nan)
            for name in ("transfer", "variance")
        )


class Projected:
    """The actor of the published form: projected gradient ascent; it is given the shares of the target, float64[sets].

    A set for which nothing was measured moves nothing; an arm that was not measured counts as the mean of the others.
    """

    def __init__(
        self, prior: NDArray[np.float64], settings: PublishedTandemSettings, shares: NDArray[np.float64]
    ) -> None:
        self._weights, self._settings, self._shares = prior, settings, shares

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return self._weights

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Step along the gains, float64[1, arms, sets]."""
        known = ~np.isnan(rewards[0])
        total = np.where(known, rewards[0], 0).sum(axis=0)
        mean = total / np.maximum(known.sum(axis=0), 1)
        gains = np.where(known, rewards[0] - mean, 0) @ self._shares
        self._weights = _project(self._weights + self._settings.step_size * gains)

    def state_dict(self) -> dict[str, Any]:
        """Return the weights."""
        return {"weights": to_json(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._weights = from_json(state, "weights", self._weights.size)


def _project(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution that is nearest to float64[arms]; where it would be 0, it is `_SMALLEST`.

    Source: Duchi et al., Efficient projections onto the l1-ball, ICML 2008, Figure 1.
    """
    values = values - values.max()  # which changes nothing but rounding
    falling = np.sort(values)[::-1]
    excess = (falling.cumsum() - 1) / np.arange(1, values.size + 1)
    nearest = np.maximum(values - excess[falling > excess][-1], _SMALLEST)
    return np.asarray(nearest / nearest.sum())
