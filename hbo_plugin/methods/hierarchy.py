"""The two-level frame of HBO: a global actor over datasets, a local actor over each dataset's levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.base import check_rows, check_setting, temperature_prior
from hbo_plugin.methods.signals import SIGNALS, by_dataset, read_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from hbo_plugin.methods.actors import Actor

REWARD: Mapping[str, str] = {"global": "gradient_norm", "local": "perplexity_ratio"}
"""The signal that rewards the global actor, and the one that rewards the local actors, as published."""


class Hierarchy:
    """Global weights times local weights; levels without rows have no arm, and so weight 0.

    The global actor starts from the temperature prior, the local actors start uniform over their levels.
    An actor of which no arm was measured is not updated. Source: HBO (arXiv 2505.12300), Algorithm 1.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; the global prior is rows^(1/temperature).
        global_actor: builds the global actor from its prior.
        local_actor: builds a local actor from its prior.
        reward: names the `global` signal, the `local` one, or both; what it leaves out stays as in `REWARD`. A
            global signal with one value a cell counts as its mean over the levels, weighted with their rows.

    Raises ValueError for anything else.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        temperature: float,
        global_actor: Callable[[NDArray[np.float64]], Actor],
        local_actor: Callable[[NDArray[np.float64]], Actor],
        reward: Mapping[str, str] | None,
    ) -> None:
        check_rows(rows)
        self._rows, self._arms = rows, rows > 0
        self._global_signal, self._local_signal = _check_reward(reward)
        self.signals = tuple(dict.fromkeys((self._global_signal, self._local_signal)))
        self._global = global_actor(temperature_prior(rows.sum(axis=1), temperature))
        self._local = [local_actor(np.full(arms, 1 / arms)) for arms in self._arms.sum(axis=1)]

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        weights = np.zeros(self._arms.shape)
        # A boolean mask reads and writes cells dataset by dataset, so the actors' arms are in order.
        weights[self._arms] = np.concatenate(
            [share * actor.weights() for share, actor in zip(self._global.weights(), self._local, strict=True)]
        )
        return weights

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Update every actor that has a reward; ValueError where a signal is missing or has the wrong shape."""
        datasets = by_dataset(read_signal(signals, self._global_signal, self._arms.shape), self._rows)
        cells = read_signal(signals, self._local_signal, self._arms.shape)
        _reward(self._global, datasets)
        for actor, levels, arms in zip(self._local, cells, self._arms, strict=True):
            _reward(actor, levels[arms])

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the global and the local actors."""
        return {
            "global": self._global.state_dict(),
            "local": [actor.state_dict() for actor in self._local],
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        saved = state.get("local")
        if "global" not in state or not isinstance(saved, list) or len(saved) != len(self._local):
            message = (
                f"The saved state of the method does not fit `{len(self._local)}` datasets with a local actor each: "
                "resume with the method and the datasets that the checkpoint was made with."
            )
            raise ValueError(message)
        self._global.load_state_dict(state["global"])
        for actor, actor_state in zip(self._local, saved, strict=True):
            actor.load_state_dict(actor_state)


def _reward(actor: Actor, rewards: NDArray[np.float64]) -> None:
    if not np.isnan(rewards).all():
        actor.update(rewards)


def _check_reward(reward: Mapping[str, str] | None) -> tuple[str, str]:
    """Return the global and the local signal."""
    check_setting("reward", reward, "a signal for `global`, for `local`, or both", _names_actors)
    signals = {**REWARD, **(reward or {})}
    per_cell = [name for name, signal in SIGNALS.items() if signal.per_cell]
    check_setting("reward.global", signals["global"], _one_of(SIGNALS), lambda signal: signal in list(SIGNALS))
    check_setting("reward.local", signals["local"], _one_of(per_cell), lambda signal: signal in per_cell)
    return signals["global"], signals["local"]


def _names_actors(reward: object) -> bool:
    return reward is None or (isinstance(reward, Mapping) and set(reward) <= set(REWARD))


def _one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(f'`{name}`' for name in names)}"
