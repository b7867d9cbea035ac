"""HBO: a global actor over datasets, and a local actor over each dataset's levels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import Actor, ClosedForm, ClosedFormSettings
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.levels import LocalActors
from hbo_plugin.methods.prior import prior_weights
from hbo_plugin.methods.reading import SIGNALS, by_dataset, read_signal

if TYPE_CHECKING:
    AnySignal: TypeAlias = str
    CellSignal: TypeAlias = str
else:  # only the table knows the names
    AnySignal = Literal[tuple(name for name, signal in SIGNALS.items() if signal.shape != "target")]
    CellSignal = Literal[tuple(name for name, signal in SIGNALS.items() if signal.per_cell)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Reward:
    """The signal that rewards the global actor, and the one that rewards the local actors."""

    global_: AnySignal = Field(default="gradient_norm", alias="global")
    local: CellSignal = "perplexity_ratio"


REWARD = "The signals that reward the global actor and the local actors."


class HierarchySettings(Protocol):
    """Settings of `Hbo`: they say what rewards the actors, what the global one starts from, and build them."""

    @property
    def prior(self) -> str | float | Mapping[str, float]:
        """Of the global actor."""
        ...

    @property
    def reward(self) -> Reward:
        """The signals of the actors."""
        ...

    def global_actor(self, prior: NDArray[np.float64], /) -> Actor:
        """Build the actor over datasets from its prior, float64[datasets]."""
        ...

    def local_actor(self, prior: NDArray[np.float64], /) -> Actor:
        """Build the actors over the levels of datasets from their priors, float64[datasets, levels with rows]."""
        ...


@dataclass(frozen=True, kw_only=True)
class HboSettings(ClosedFormSettings):
    """The settings of `hbo`: every actor is a `ClosedForm`."""

    reward: Annotated[Reward, Field(description=REWARD)] = Reward()

    def global_actor(self, prior: NDArray[np.float64]) -> ClosedForm:
        """Build the actor over datasets from its prior, float64[datasets]."""
        return ClosedForm(prior, self)

    def local_actor(self, prior: NDArray[np.float64]) -> ClosedForm:
        """Build the actors over the levels of datasets from their priors, float64[datasets, levels with rows]."""
        return ClosedForm(prior, self)


class Hbo:
    """The global actor over datasets and the local actors over levels, each with the damped closed-form update.

        goal    = normalise(prior * average^exponent)
        weights = (1 - floor) * normalise(weights^(1 - step_size) * goal^step_size) + floor * prior

    where `average` is the moving average of an arm's reward; an arm that was never measured counts as the mean
    of those that were. The weight of a cell is that of its dataset times that of its level. The global actor starts
    from the prior, the local actors start uniform. Levels without rows have no arm, and so weight 0. An
    actor of which no arm was measured is not updated. A global signal with one value a cell counts as its mean over
    the levels, weighted with their rows.

    Why not the published update (HBO, arXiv 2505.12300; `published: true` uses it): its gradient with respect to a
    logit is `weight * sum(r) - r`, so the only place where it rests is `r / sum(r)`, and 200 Adam steps at 1e-4 need
    100 or more updates to arrive there. With `exponent` 1, `floor` 0 and a uniform prior, the goal above is that same
    resting place, reached in a few updates without an optimiser. But `r / sum(r)` has no memory of the prior:
    where rewards differ little it is nearly uniform over the datasets, however small some of them are, and in our
    measurements how the mixture is tempered mattered more than any adaptation on top of it. So the reward here
    multiplies the prior instead of replacing it, and an `exponent` below 1 keeps a noisy reward from outvoting it.

    Only ratios of rewards count: multiplying all rewards of an actor by one number changes nothing. Rewards are
    magnitudes: zero and below count as the smallest one.

    Source: HBO (arXiv 2505.12300), Algorithm 1, corrected.
    """

    Settings: ClassVar[type] = HboSettings

    def __init__(self, rows: NDArray[np.int64], settings: HierarchySettings, run: RunFacts) -> None:
        self._rows = rows
        self._reward = settings.reward
        self.signals = tuple(dict.fromkeys((self._reward.global_, self._reward.local)))
        self._global = settings.global_actor(prior_weights(settings.prior, rows.sum(axis=1), run.names))
        self._local = LocalActors(rows, settings.local_actor)

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        return self._local.weights() * self._global.weights()[:, None]

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Update every actor that has a reward; ValueError where a signal is missing or has the wrong shape."""
        datasets = by_dataset(read_signal(signals, self._reward.global_, self._rows.shape), self._rows)
        cells = read_signal(signals, self._reward.local, self._rows.shape)
        self._global.update(datasets)
        self._local.update(cells)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the global and the local actors."""
        return {"global": self._global.state_dict(), "local": self._local.state()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._local.check(state.get("local") if "global" in state else None)
        self._global.load_state_dict(state["global"])
        self._local.load(state["local"])
