"""A control: HBO with random rewards. What does not beat it has learned nothing from its signals."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.hbo import Hbo, HboSettings
from hbo_plugin.methods.reading import read_signal
from hbo_plugin.methods.state import from_json


@dataclass(frozen=True, kw_only=True)
class RandomSettings(HboSettings):
    """The settings of `random`."""

    spread: Annotated[
        float, Field(ge=1, le=1000, description="The largest random reward; the smallest is 1/spread.")
    ] = 4.0


class RandomRewards(Hbo):
    """`hbo`, but every measured reward is replaced by a random one between 1/`spread` and `spread`.

    It measures what `hbo` measures, and so costs the same and misses the same rewards; only what was measured does
    not count. A reward is `spread^(2u - 1)`, u uniform from a generator of its own that is a function of the seed
    and of the number of updates alone. Cheaper signals as `reward` make a cheaper control.

    Source: a control for adaptivity; no paper.
    """

    Settings: ClassVar[type] = RandomSettings

    def __init__(self, rows: NDArray[np.int64], settings: RandomSettings, run: RunFacts) -> None:
        super().__init__(rows, settings, run)
        self._seed, self._spread, self._updates = run.seed, settings.spread, 0

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Update every actor that has a reward; ValueError where a signal is missing or has the wrong shape."""
        random = np.random.default_rng((self._seed, self._updates))
        self._updates += 1
        rewards = {}
        for name in self.signals:
            measured = read_signal(signals, name, self._rows.shape)
            drawn = self._spread ** (2 * random.random(measured.shape) - 1)
            rewards[name] = np.where(np.isnan(measured), np.nan, drawn)
        super().update(rewards)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the actors, and the number of updates."""
        return {**super().state_dict(), "updates": [self._updates]}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        super().load_state_dict(state)
        self._updates = int(from_json(state, "updates", 1)[0])
