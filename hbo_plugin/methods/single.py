"""The frame of methods with a single actor, over the datasets or over all cells at once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.methods.actors import ActorSettings
from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.prior import cell_prior, prior_weights
from hbo_plugin.methods.reading import by_dataset, read_signal


class Single(ABC):
    """One actor that starts from its prior; each method says what rewards it.

    An arm is a dataset, whose levels follow their rows, so that each of its rows is as likely as any other; or,
    where the class is `flat`, a cell. Cells without rows have no arm, and so weight 0. Where no arm was measured,
    nothing changes.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset is empty.
        settings: the prior, and what builds the actor from its prior.
        run: of which some actors need a fact.
    """

    Settings: ClassVar[type]
    flat: ClassVar[bool] = False

    def __init__(self, rows: NDArray[np.int64], settings: ActorSettings, run: RunFacts) -> None:
        self._rows, self._live = rows, rows > 0
        cells = rows[self._live]
        dataset = np.nonzero(self._live)[0]
        self._arm = np.arange(cells.size) if self.flat else dataset
        arms = cells if self.flat else rows.sum(axis=1)
        self._share = cells / arms[self._arm]
        """Of every cell with rows: its arm, and its share of the arm's weight."""
        self._settings = settings
        prior = (
            cell_prior(settings.prior, rows, run.names) if self.flat else prior_weights(settings.prior, arms, run.names)
        )
        self._actor = settings.actor(prior, run)

    @property
    @abstractmethod
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that `rewards` reads."""

    @abstractmethod
    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the reward of every arm, float64[arms], NaN where it was not measured."""

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        weights = np.zeros(self._rows.shape)
        weights[self._live] = self._actor.weights()[self._arm] * self._share
        return weights

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Reward the actor; ValueError where a signal is missing or has the wrong shape."""
        rewards = self.rewards(signals)
        if not np.isnan(rewards).all():
            self._actor.update(rewards)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the actor."""
        return self._actor.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._actor.load_state_dict(state)

    def _of_datasets(self, signals: Mapping[str, NDArray[np.float64]], name: str) -> NDArray[np.float64]:
        """Return signal `name` as float64[datasets], a mean over levels where it has one value a cell."""
        return by_dataset(read_signal(signals, name, self._rows.shape), self._rows)
