"""ScaleBiO: datasets by what learning the held-out rows does to their loss."""

from collections.abc import Mapping
from math import cos, pi
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.arithmetic import softmax
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import PENALTY, TWIN_EVERY, Penalty, TwinEvery
from hbo_plugin.methods.prior import TEMPERATURE, Prior
from hbo_plugin.methods.published.adam import BETA_1, BETA_2, EPSILON
from hbo_plugin.methods.single import Single
from hbo_plugin.methods.state import from_json, to_json

_TRAVEL = 3.0
"""How far a logit moves in a run where it always moves the same way, in nats."""
_UPDATES = 20
"""Of a run whose length nobody has told yet."""
_TINY = 1e-300
_PUBLISHED_RATE, _PUBLISHED_DECAY = 1e-2, 1e-2


@dataclass(frozen=True, kw_only=True)
class ScaleBioSettings:
    """The settings of `scalebio`."""

    update_every: ClassVar[int] = 8
    beta_2: ClassVar[float] = 0.95
    """Of AdamW: what its second moment keeps. The usual 0.999 remembers the whole of a run of some hundred updates."""
    decay: ClassVar[float] = 0.0
    """Of AdamW: what pulls the logits to 0, and so the weights to uniform ones."""
    shrinks: ClassVar[bool] = True
    """Whether a step is the smaller, the less the mean gradient stands out from its noise."""

    prior: Prior = TEMPERATURE
    penalty: Penalty = PENALTY
    twin_every: TwinEvery = TWIN_EVERY

    def rate(self, share: float) -> float:
        """The learning rate of an update after which the run makes this share of its steps until the next."""
        return 2 * _TRAVEL * share

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> "AdamW":
        """Build the actor from its prior, float64[arms]; ValueError where an update would find nothing measured."""
        if self.twin_every > run.update_every:
            message = (
                f"`hbo.twin_every: {self.twin_every}` was given, but with an update every {run.update_every} steps it must "
                f"be at most that, so that each has something to look at; lower it, or raise `hbo.update_every`."
            )
            raise ValueError(message)
        return AdamW(prior, self, run.update_every)


@dataclass(frozen=True, kw_only=True)
class PublishedScaleBioSettings(ScaleBioSettings):
    """The settings of `scalebio` with `published: true`."""

    update_every: ClassVar[int] = 1
    beta_2: ClassVar[float] = BETA_2
    decay: ClassVar[float] = _PUBLISHED_DECAY
    shrinks: ClassVar[bool] = False

    prior: Prior = "uniform"
    twin_every: TwinEvery = 1

    def rate(self, share: float) -> float:
        """The learning rate of the first update."""
        return _PUBLISHED_RATE


class AdamW:
    """Logits that go down the gradient of the gap's mean, at a rate that falls to 0 with the cosine of the run.

    Takes the prior, float64[arms], all above 0, which sums to 1; the settings; and the steps between two updates.
    """

    def __init__(self, prior: NDArray[np.float64], settings: ScaleBioSettings, update_every: int) -> None:
        self._settings, self._update_every = settings, update_every
        self._step, self._steps = 0, _UPDATES * update_every
        self._logits = np.log(prior)
        self._first_moment, self._second_moment = np.zeros((2, prior.size))
        self._updates = np.zeros(1)

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        return softmax(self._logits)

    def advance(self, step: int, steps: int) -> None:
        """The run has made `step` of `steps`."""
        self._step, self._steps = step, steps

    def update(self, gaps: NDArray[np.float64], /) -> None:
        """Make a step against gaps in nats, float64[arms], NaN where none was measured; one was."""
        weights, known = self.weights(), ~np.isnan(gaps)
        # One that was not measured counts as the mean of the others, so that it has no part in the gradient.
        mean = weights[known] @ gaps[known] / weights[known].sum()
        settings, beta_2 = self._settings, self._settings.beta_2
        gradient = weights * settings.penalty * np.where(known, gaps - mean, 0)
        self._updates += 1
        self._first_moment = BETA_1 * self._first_moment + (1 - BETA_1) * gradient
        self._second_moment = beta_2 * self._second_moment + (1 - beta_2) * gradient**2
        kept = BETA_1**self._updates
        first, second = self._first_moment / (1 - kept), self._second_moment / (1 - beta_2**self._updates)
        moved = first / (np.sqrt(second) + EPSILON)
        if settings.shrinks:
            # The variance of that mean of gradients, if they were independent and their own mean 0.
            noise = second * (1 - BETA_1) / (1 + BETA_1) * (1 + kept) / (1 - kept)
            moved *= np.maximum(0, 1 - noise / np.maximum(first**2, np.maximum(noise, _TINY)))
        rate = settings.rate(min(1, self._update_every / self._steps)) * (1 + cos(pi * self._step / self._steps)) / 2
        self._logits = (1 - rate * settings.decay) * self._logits - rate * moved

    def state_dict(self) -> dict[str, Any]:
        """Return the logits, and the moments and the number of updates of AdamW."""
        return {
            "logits": to_json(self._logits),
            "first_moment": to_json(self._first_moment),
            "second_moment": to_json(self._second_moment),
            "updates": to_json(self._updates),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        arms = self._logits.size
        self._logits = from_json(state, "logits", arms)
        self._first_moment = from_json(state, "first_moment", arms)
        self._second_moment = from_json(state, "second_moment", arms)
        self._updates = from_json(state, "updates", 1)


class ScaleBio(Single):
    """Datasets by how much less a twin loses on them that learns the target too; levels in proportion to their rows.

        gap_i    = mean loss of the twin w on dataset i - that of the model u, on rows of the same steps before them
        gradient = p_k * (penalty * gap_k - sum_i p_i * penalty * gap_i),    p = softmax(logits)
        logits  <- AdamW step down the gradient

    The model learns the mixture. The twin learns the same rows and, 1/`penalty` as much, held-out rows of the `target`.
    Where it comes to lose less on a dataset than the model, learning the target and learning that dataset go together,
    and the dataset gains weight. In the limit of a large penalty this is the gradient of the target's loss by the
    weights, without a second derivative. It needs an adapter, as the twin is another copy of all that is trained.

    The paper's are the twin, the gradient, AdamW and the softmax. This is ours:

    - Rows are drawn by the weights, where the paper multiplies the loss of a dataset by its weight. The gradient is the
      same on average, and no row is wasted on a weight of nearly 0.
    - There is an update every 8 steps, unless `update_every` is set: the weights wander less by many small steps.
    - The logits' learning rate lets a logit go about 3 nats in the run, however many updates there are, and follows the
      run's cosine to 0. The paper's 0.01 a step goes as far in 600 steps, and nowhere in 50.
    - With `twin_every: 4`, the twin makes a step of its own in every fourth, and moves along with the model in the
      others. Those are half as many passes again as the training makes, and not twice as many.
    - AdamW moves a logit as far by noise as by a signal. So a step is multiplied by `max(0, 1 - V / m^2)`, where m is
      the mean gradient and V the variance of such a mean of noise, and the second moment has beta 0.95. Without it, one of
      four equal datasets may come to half of the weights.
    - A dataset of which no row came counts as the mean of the others. The code counts its gap as 0.

    With `published: true` the twin makes every step, each is followed by an update, weights start uniform, and the
    logits' AdamW is that of the code: learning rate and decay are 0.01 each, beta is 0.999, and no step is shrunk.

    The weights of the last steps are what counts, and the held-out rows are learned by the twin alone. The paper draws a
    training set by the last weights and trains anew; `report --weights` prints weights to do so.

    Source: ScaleBiO (arXiv 2406.19976) and its public code.
    """

    Settings: ClassVar[type] = ScaleBioSettings
    signals = ("twin_gap",)
    _actor: AdamW

    def advance(self, step: int, steps: int) -> int:
        """Let the learning rate follow the run; nothing but an update changes the weights."""
        self._actor.advance(step, steps)
        return steps

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the gaps, float64[datasets], in nats."""
        return self._of_datasets(signals, "twin_gap")
