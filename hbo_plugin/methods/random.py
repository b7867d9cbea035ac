"""A control: HBO with random rewards. What does not beat it has learned nothing from its signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import check_setting, from_json
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.signals import read_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class RandomRewards(Hbo):
    """`Hbo` to the letter, but every measured reward is replaced by a random one between 1/`spread` and `spread`.

    It measures what `Hbo` measures, and so costs the same and misses the same rewards; only what was measured does
    not count. A reward is `spread^(2u - 1)`, u uniform from a generator of its own that is a function of the seed
    and of the number of updates alone.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        seed: a whole number, 0 or more.
        spread: 1 to 1000; the largest reward. At 1 all rewards are equal.
        temperature: of `Hbo`, as are the others below.
        rate: of `Hbo`.
        floor: of `Hbo`.
        smoothing: of `Hbo`.
        strength: of `Hbo`.
        reward: of `Hbo`; cheaper signals make a cheaper control.

    Raises ValueError for anything else. Source: a control for adaptivity; no paper.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        seed: int = 0,
        spread: float = 4.0,
        temperature: float = 3.0,
        rate: float = 0.5,
        floor: float = 0.05,
        smoothing: float = 0.5,
        strength: float = 0.5,
        reward: Mapping[str, str] | None = None,
    ) -> None:
        check_setting("seed", seed, "a whole number, 0 or more", lambda value: isinstance(value, int) and value >= 0)
        check_setting("spread", spread, "1 to 1000", lambda value: 1 <= value <= 1000)
        super().__init__(
            rows,
            temperature=temperature,
            rate=rate,
            floor=floor,
            smoothing=smoothing,
            strength=strength,
            reward=reward,
        )
        self._seed, self._spread, self._updates = seed, spread, 0

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Update every actor that has a reward; ValueError where a signal is missing or has the wrong shape."""
        random = np.random.default_rng((self._seed, self._updates))
        self._updates += 1
        rewards = {}
        for name in self.signals:
            measured = read_signal(signals, name, self._arms.shape)
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
