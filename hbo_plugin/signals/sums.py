"""Sums: a source that adds up what it sees of rows, from one measurement to the next and from one line of the log to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from hbo_plugin.signals.sources import SignalSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context


class Summing(SignalSource):
    """Gives the means of the values that rows have. A subclass adds them up as it sees them."""

    values: ClassVar[tuple[str, ...]]
    """The signals that each row has a value of."""

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Nothing was seen yet.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        super().__init__(names, context)
        cells = context.cells
        self._measured = np.zeros((1 + len(self.values), cells.sizes.size))
        """Since the last measurement: rows of each cell and the sums of their values, float64[1 + values, cells]."""
        self._told = np.zeros((1 + len(self.values), len(cells.names)))
        """The same since `take_means`, by dataset, float64[1 + values, datasets]."""

    def _sums_of(self, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What rows, int64[rows], with values of float64[values, rows] add, float64[1 + values, cells]."""
        cells = self._context.cells
        cell = cells.of(rows)
        found = [np.bincount(cell, each, cells.sizes.size) for each in (np.ones(len(rows)), *values)]
        return np.array(found, np.float64)  # of no row, they would be integers

    def _add(self, seen: NDArray[np.float64]) -> None:
        """Add what `_sums_of` gave, summed over all ranks."""
        self._measured += seen
        self._told += seen.reshape(len(seen), *self._context.cells.sizes.shape).sum(axis=2)

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """The means since the last measurement; NaN where there was no row."""
        rows, *sums = self._measured.copy()
        self._measured[:] = 0
        with np.errstate(invalid="ignore"):
            means = [(total / rows).reshape(self._context.cells.sizes.shape) for total in sums]
        return {name: mean for name, mean in zip(self.values, means, strict=True) if name in self.names}

    def take_means(self) -> dict[str, dict[str, float]]:
        """The means since the last call, of each dataset that was seen."""
        rows, *sums = self._told.copy()
        self._told[:] = 0
        seen = np.flatnonzero(rows)
        names = [self._context.cells.names[index] for index in seen]
        means = (dict(zip(names, (total[seen] / rows[seen]).tolist(), strict=True)) for total in sums)
        return dict(zip(self.values, means, strict=True))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the sums since the last measurement and since `take_means`."""
        return {"sums": torch.from_numpy(self._measured), "untold": torch.from_numpy(self._told)}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned."""
        self._measured[:], self._told[:] = tensors["sums"].numpy(), tensors["untold"].numpy()
