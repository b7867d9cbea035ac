"""Tally: what row weights came to, over the steps since they were last told, and the last weight of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.history import LOWEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells
    from hbo_plugin.row_weights.base import SeenRows


class Tally:
    """Adds up weights; the same on all ranks."""

    def __init__(self, cells: Cells) -> None:
        """No row was weighed yet."""
        self._cells = cells
        self._by_cell = np.zeros((2, cells.sizes.size))
        """Tokens times weights, and tokens, float64[2, cells]."""
        self._moments = np.zeros(4)
        """Rows, the sums of their weights and of the squares, and how many weights are 0."""
        self._with_loss = np.zeros(6)
        """Rows with a loss; sums of weights, losses, their squares and their products."""
        self._last = np.full(len(cells.lengths), np.nan, np.float32)
        """Of each row of the training set, NaN for one that was not trained on yet, float32[rows]."""

    def add(self, rows: SeenRows, weights: NDArray[np.float64]) -> None:
        """Add the rows of a step of all ranks, with their weights, float64[rows]."""
        cell, count = self._cells.of(rows.row), self._cells.sizes.size
        self._by_cell += [np.bincount(cell, rows.tokens * weights, count), np.bincount(cell, rows.tokens, count)]
        self._moments += [len(weights), weights.sum(), (weights**2).sum(), (weights == 0).sum()]
        known = np.isfinite(rows.loss)
        given, losses = weights[known], rows.loss[known]
        self._with_loss += [
            len(given),
            given.sum(),
            losses.sum(),
            (given**2).sum(),
            (losses**2).sum(),
            (given * losses).sum(),
        ]
        self._last[rows.row] = weights

    def take(self) -> dict[str, Any]:
        """What was added since the last call, as plain JSON values; forget it, but for the last weights.

        Returns:
            `mean` of the weights, by the tokens of the rows; `std` of those of single rows; `effective`, the share of the rows
            that would be as good a sample if all counted alike (Kish); `zero`, the share of rows whose weight is 0;
            `with_loss`, the correlation of weights and losses; `datasets` and `cells`, the mean of each, by tokens; and
            `lowest`, the rows of the lowest weights with these, the lowest first. None for what cannot be told.
        """
        tokens_weighed, tokens = self._by_cell
        rows, total, squares, zero = self._moments
        with np.errstate(invalid="ignore", divide="ignore"):
            numbers = {
                "mean": tokens_weighed.sum() / tokens.sum(),
                "std": np.sqrt(np.maximum(squares / rows - (total / rows) ** 2, 0)),
                "effective": total**2 / (rows * squares),
                "zero": zero / rows,
                "with_loss": _correlation(*self._with_loss),
            }
            by_level = self._by_cell.reshape(2, *self._cells.sizes.shape)
            weighed, of_tokens = by_level.sum(axis=2)
            means = {"datasets": weighed / of_tokens, "cells": by_level[0] / by_level[1]}
        for sums in (self._by_cell, self._moments, self._with_loss):
            sums[:] = 0
        lowest = [[int(row), float(self._last[row])] for row in self._lowest()]
        told = {name: _told(value) for name, value in numbers.items()}
        return {**told, **{name: _json(values) for name, values in means.items()}, "lowest": lowest}

    def _lowest(self) -> NDArray[np.int64]:
        # Stable, so that of equal weights the first row comes first; rows that have none come last.
        few = min(LOWEST, int(np.isfinite(self._last).sum()))
        return np.asarray(np.argsort(self._last, kind="stable")[:few])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a resumed run needs, by name."""
        return {"by_cell": self._by_cell, "moments": self._moments, "with_loss": self._with_loss, "last": self._last}

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `arrays` returned."""
        for name, values in self.arrays().items():
            values[:] = arrays[name]


def _correlation(
    count: float, one: float, other: float, one_square: float, other_square: float, product: float
) -> float:
    spread = np.sqrt((one_square - one**2 / count) * (other_square - other**2 / count))
    return float((product - one * other / count) / spread)


def _json(values: NDArray[np.float64]) -> list[Any]:
    return [_told(each) if np.ndim(each) == 0 else _json(each) for each in values]


def _told(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
