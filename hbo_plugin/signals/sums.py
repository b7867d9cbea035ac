"""Sums: what was seen of the rows of each cell, from one measurement to the next and from one line of the log to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells


class Sums:
    """Adds up values of rows, and gives their means."""

    def __init__(self, names: Sequence[str], cells: Cells) -> None:
        """Nothing was seen yet.

        Args:
            names: of the values that each row has.
            cells: the layout of the training set.
        """
        self._names, self._cells = tuple(names), cells
        self._measured = np.zeros((1 + len(names), cells.sizes.size))
        """Since the last measurement: rows of each cell and the sums of their values, float64[1 + values, cells]."""
        self._told = np.zeros((1 + len(names), len(cells.names)))
        """The same since `take_means`, by dataset, float64[1 + values, datasets]."""

    def of(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What rows, int64[rows], with values of float64[values, rows] add, float64[1 + values, cells]."""
        cell = self._cells.of(rows)
        found = [np.bincount(cell, each, self._cells.sizes.size) for each in (np.ones(len(rows)), *values)]
        return np.array(found, np.float64)  # of no row, they would be integers

    def add(self, seen: NDArray[np.float64]) -> None:
        """Add what `of` gave, summed over all ranks."""
        self._measured += seen
        self._told += seen.reshape(len(seen), *self._cells.sizes.shape).sum(axis=2)

    def measure(self, wanted: Collection[str]) -> dict[str, NDArray[np.float64]]:
        """The means since the last call, float64[datasets, levels]; NaN where there was no row."""
        rows, *sums = self._measured.copy()
        self._measured[:] = 0
        with np.errstate(invalid="ignore"):
            means = [(total / rows).reshape(self._cells.sizes.shape) for total in sums]
        return {name: values for name, values in zip(self._names, means, strict=True) if name in wanted}

    def take_means(self) -> dict[str, dict[str, float]]:
        """The means since the last call, of each dataset that was seen."""
        rows, *sums = self._told.copy()
        self._told[:] = 0
        seen = np.flatnonzero(rows)
        names = [self._cells.names[index] for index in seen]
        means = (dict(zip(names, (total[seen] / rows[seen]).tolist(), strict=True)) for total in sums)
        return dict(zip(self._names, means, strict=True))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the sums."""
        return {"sums": torch.from_numpy(self._measured), "untold": torch.from_numpy(self._told)}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned."""
        self._measured[:], self._told[:] = tensors["sums"].numpy(), tensors["untold"].numpy()
