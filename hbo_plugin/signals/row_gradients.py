"""Row gradients: from sketches of single rows to the length of a dataset's gradient, and to how rows vary around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.signals.layers import SKETCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GROUP = 8
"""Rows that are compared with each other, at least: those of one step, or of as few steps as have so many."""


class RowGradients:
    """Adds up the gradients of each dataset's rows between two measurements.

    The square of a mean gradient is the mean product of two rows' gradients. Only rows that were trained on at about the
    same time are paired: the model moves, and the gradients of its early and of its late rows point elsewhere.
    """

    def __init__(self, datasets: int) -> None:
        """No row was seen yet."""
        self.seen = np.zeros((datasets, SKETCH + 3))
        """What this rank saw since the last step that was closed: sums of sketches and their squares, rows, tokens."""
        self.open = np.zeros_like(self.seen)
        """The same for the group that each dataset collects, on all ranks together."""
        self.closed = np.zeros((datasets, 5))
        """Of closed groups: sums of products of two rows' sketches, how many pairs; sums of squares, rows, tokens."""

    def add(self, dataset: NDArray[np.int64], sketches: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        """Add rows of this rank.

        Args:
            dataset: of each row, int64[rows].
            sketches: of the gradient of each row's summed loss, float64[rows, SKETCH].
            tokens: of each row's answer, int64[rows].
        """
        parts = np.column_stack([sketches, (sketches**2).sum(1), np.ones(len(tokens)), tokens])
        # Row by row, which takes a tenth of the time that `np.add.at` takes.
        for index, row in zip(dataset, parts, strict=True):
            self.seen[index] += row

    def close_step(self, seen: NDArray[np.float64]) -> None:
        """A step ended, in which all ranks together saw this."""
        self.open += seen
        self.seen[:] = 0
        self._close(self.open[:, -2] >= _GROUP)

    def _close(self, full: NDArray[np.bool_]) -> None:
        squares, rows, _ = numbers = self.open[full, SKETCH:].T
        products = (self.open[full, :SKETCH] ** 2).sum(1) - squares
        self.closed[full] += np.column_stack([products, rows * (rows - 1), *numbers])
        self.open[full] = 0

    def measure(self, sample: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Forget the rows; return what they tell, NaN for a dataset without a pair.

        Args:
            sample: of each dataset, rows on whose mean loss a gradient is wanted, int64[datasets]. A method that takes
                the noise off must know how many, so they are as many as with probes.

        Returns:
            The root of the mean square of the gradient of the mean loss a token of so many rows, float64[datasets]; and
            the trace of the covariance of the gradient of one row, float64[datasets].
        """
        self._close(self.open[:, -2] > 0)
        products, pairs, squares, rows, tokens = self.closed.T.copy()
        self.closed[:] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            each = (tokens / rows) ** 2
            mean = np.maximum(products / pairs / each, 0)
            variance = np.maximum(squares / rows / each - mean, 0)
        return np.sqrt(mean + variance / sample), np.where(pairs > 0, variance, np.nan)
