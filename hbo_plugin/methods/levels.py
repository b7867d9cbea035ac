"""The local actors: one for the levels of each dataset."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.methods.actors import Actor


class LocalActors:
    """An actor over the levels of each dataset, which starts uniform. Levels without rows have no arm, and so weight 0."""

    def __init__(self, rows: NDArray[np.int64], actor: Callable[[NDArray[np.float64]], Actor]) -> None:
        """Build the actors.

        Args:
            rows: of every cell, int64[datasets, levels].
            actor: builds those of datasets with as many levels from their priors, float64[datasets, levels with rows].
        """
        self._arms = rows > 0
        levels = self._arms.sum(axis=1)
        self._actors = [
            (self._arms & (levels == count)[:, None], actor(np.full((members, count), 1 / count)))
            for count, members in zip(*np.unique(levels, return_counts=True), strict=True)
        ]
        """The datasets with one number of levels at a time: their cells, and their actors."""

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the levels of each dataset, float64[datasets, levels]; those of a dataset sum to 1."""
        weights = np.zeros(self._arms.shape)
        # A boolean mask reads and writes cells dataset by dataset, so the actors' arms are in order.
        for cells, actor in self._actors:
            weights[cells] = actor.weights().ravel()
        return weights

    def update(self, rewards: NDArray[np.float64]) -> None:
        """Update every actor from the rewards of its levels, float64[datasets, levels], NaN where not measured."""
        for cells, actor in self._actors:
            actor.update(rewards[cells].reshape(-1, cells.sum(axis=1).max()))

    def state(self) -> list[dict[str, Any]]:
        """Return the states of the actors."""
        return [actor.state_dict() for _, actor in self._actors]

    def check(self, saved: object) -> None:
        """Raise a ValueError unless this is a state of as many actors."""
        if not isinstance(saved, list) or len(saved) != len(self._actors):
            message = (
                f"The saved state of the method does not fit `{len(self._arms)}` datasets with a local actor each; "
                "resume with the method and the datasets that the checkpoint was made with."
            )
            raise ValueError(message)

    def load(self, saved: Any) -> None:
        """Continue from what `state` returned; ValueError where it does not fit."""
        self.check(saved)
        for (_, actor), state in zip(self._actors, saved, strict=True):
            actor.load_state_dict(state)
