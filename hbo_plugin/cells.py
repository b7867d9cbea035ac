"""Cells: the training set as contiguous slices, one for each level of each dataset."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Cells:
    """The layout of the concatenated training set.

    Attributes:
        names: one name a dataset.
        sizes: rows of each cell, int64[datasets, levels]; level 0 is the easiest.
        lengths: tokens of each row of the training set, int32[rows].
        trained: tokens of each row that the model learns to predict, int32[rows].
        fingerprints: a digest of each dataset's rows in their order, so that a resumed run can tell other data.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    lengths: NDArray[np.int32]
    trained: NDArray[np.int32]
    fingerprints: tuple[str, ...]

    @property
    def levels(self) -> int:
        """Number of levels a dataset."""
        return int(self.sizes.shape[1])

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """One past the last row of each cell, int64[datasets * levels]."""
        return np.cumsum(self.sizes.ravel())

    def mean(self, of_rows: NDArray[np.int32]) -> NDArray[np.float64]:
        """The mean over the rows of each cell of a number that each row has, int32[rows]; 1 where that is 0.

        Returns:
            float64[datasets * levels].
        """
        sizes = self.sizes.ravel()
        # Cell by cell, and not as a running total, which would need 16 bytes more for each row of the data.
        sums = [of_rows[end - size : end].sum(dtype=np.int64) for end, size in zip(self.ends, sizes, strict=True)]
        return np.where(sums, sums / np.maximum(sizes, 1), 1.0)

    def mean_units(self, unit: str) -> NDArray[np.float64]:
        """How many of a unit a row of each cell has on average, as `hbo.unit` names it; float64[datasets * levels]."""
        if unit == "row":
            return np.ones(self.sizes.size)
        return self.mean({"token": self.lengths, "trained_token": self.trained}[unit])

    def rows(self, cell: int) -> range:
        """The rows of a cell, numbered as in the training set."""
        return range(int(self.ends[cell] - self.sizes.ravel()[cell]), int(self.ends[cell]))

    def dataset_rows(self, dataset: int) -> range:
        """The rows of a dataset, numbered as in the training set."""
        first = dataset * self.levels
        return range(self.rows(first).start, self.rows(first + self.levels - 1).stop)

    def shifted(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """For each row the one that lies further on in its cell, whose last row its first follows; int64[rows].

        Args:
            shares: how much further, as a share of the rows of the cell, float64[datasets].
        """
        by = (np.repeat(shares, self.levels) * self.sizes.ravel()).astype(np.int64)
        return np.concatenate([np.roll(self.rows(cell), -steps) for cell, steps in enumerate(by)])

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cell of each row, int64 of the shape of `rows`."""
        return np.searchsorted(self.ends, rows, side="right")
