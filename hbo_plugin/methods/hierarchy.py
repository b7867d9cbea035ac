"""The two-level frame of HBO: a global actor over datasets, a local actor over each dataset's levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from hbo_plugin.methods.base import check_rows, read_signal, temperature_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# Rewards are magnitudes: zero and below count as the least, so that every logarithm and ratio exists.
# Squares of the bounds, and sums of those, are still finite.
_LEAST, _MOST = 1e-100, 1e100


class Actor(Protocol):
    """A distribution that learns; built from its prior, float64[arms]."""

    def weights(self) -> NDArray[np.float64]:
        """Return float64[arms], all above 0, sums to 1."""
        ...

    def update(self, rewards: NDArray[np.float64], /) -> None:
        """Learn from float64[arms]: positive, or NaN where not measured; at least one arm was."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `update` changes, as plain JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        ...


class Hierarchy:
    """Global weights times local weights; levels without rows have no arm, and so weight 0.

    The global actor starts from the temperature prior and is rewarded with `gradient_norm`, float64[datasets];
    the local actors start uniform over their levels and are rewarded with `perplexity_ratio`,
    float64[datasets, levels]. An actor of which no arm was measured is not updated.
    Source: HBO (arXiv 2505.12300), Algorithm 1.
    """

    signals: ClassVar[tuple[str, ...]] = ("gradient_norm", "perplexity_ratio")

    def __init__(
        self,
        rows: NDArray[np.int64],
        temperature: float,
        global_actor: Callable[[NDArray[np.float64]], Actor],
        local_actor: Callable[[NDArray[np.float64]], Actor],
    ) -> None:
        """Build the actors from int64[datasets, levels] rows of the cells; ValueError where those cannot be."""
        check_rows(rows)
        self._arms = rows > 0
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
        datasets = read_signal(signals, "gradient_norm", self._arms.shape[:1])
        cells = read_signal(signals, "perplexity_ratio", self._arms.shape)
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


def _reward(actor: Actor, signal: NDArray[np.float64]) -> None:
    measured = np.isfinite(signal)
    if measured.any():
        actor.update(np.where(measured, np.clip(signal, _LEAST, _MOST), np.nan))
