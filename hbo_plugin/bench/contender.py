"""What is compared: a mixture, and the calls that every sampler of it answers as well as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class UnableError(Exception):
    """What a contender cannot do, and why: the text of its row."""


class Mixture:
    """Datasets of very unequal size, each in levels of equal size; the rows of a cell lie side by side."""

    def __init__(self, rows: int, datasets: int = 8, levels: int = 4) -> None:
        """Sizes in proportion to 1/rank, as in mixtures that people train on.

        Args:
            rows: of the whole mixture; enough for one in every cell.
            datasets: how many.
            levels: of each dataset.
        """
        ranks = np.repeat(np.arange(1, datasets + 1), levels)
        self.rows, self.datasets, self.levels = rows, datasets, levels
        self.cells = len(ranks)
        self.sizes: NDArray[np.int64] = (rows / ranks / (1 / ranks).sum()).astype(np.int64)
        self.sizes[0] += rows - self.sizes.sum()
        self.offsets: NDArray[np.int64] = self.sizes.cumsum() - self.sizes

    def weights(self, count: int) -> NDArray[np.float64]:
        """So many sets of weights, float64[count, cells], uniform over all that sum to 1."""
        return np.random.default_rng(0).dirichlet(np.ones(self.cells), count)


class Contender:
    """A sampler of a mixture. The weights of a new one are undefined until `reweight`."""

    name: ClassVar[str]
    ours: ClassVar[bool] = False
    bytes_per_row: ClassVar[int] = 0
    """Of memory at its peak, so that a run can say that it is too much instead of dying of it."""

    def __init__(self, mixture: Mixture, window: int) -> None:
        """Make all that can be made before the first weights are known.

        Args:
            mixture: to draw from.
            window: draws between two changes of weights. Where a call costs O(rows), they are drawn in one.
        """
        self.mixture, self.window = mixture, window

    @classmethod
    def form(cls, mixture: Mixture, weights: NDArray[np.float64]) -> Any:
        """Weights, float64[cells], in the form that `reweight` takes here; not timed."""
        del mixture
        return weights

    def reweight(self, weights: Any) -> None:
        """Put weights in force."""
        raise NotImplementedError

    def draw(self, count: int) -> Any:
        """The next rows, (count,), as a list, an array or a tensor."""
        raise NotImplementedError

    def draw_changing(self, weights: Sequence[Any]) -> Any:
        """The next rows, (len(weights) * window,): a window under each weights in turn, as one batch."""
        parts = []
        for each in weights:
            self.reweight(each)
            parts.append(self.draw(self.window))
        return np.concatenate(parts)

    def live(self, weights: Sequence[Any]) -> None:
        """Be as if a window had been drawn under each weights in turn. Most know only the last."""
        self.reweight(weights[-1])
        self.draw(self.window)

    def state(self) -> Any:
        """What a checkpoint needs; asked for where a window ends. Not every contender has one."""
        raise NotImplementedError

    def restore(self, state: Any) -> None:
        """Go on, in a new contender, where the one that the state is from was."""
        raise NotImplementedError

    def rows_at(self, position: int, weights: Any, count: int) -> Any:
        """The rows at `[position, position + count)`, which lie in one window; its weights are handed over."""
        raise NotImplementedError
