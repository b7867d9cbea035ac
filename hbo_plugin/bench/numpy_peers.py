"""Peers that need no more than NumPy, and the draw of HBO as published."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.bench.contender import Contender, Mixture

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Published(Contender):
    """Row by row: a dataset, a level, a row of theirs (arXiv 2505.12300, as its authors' training code draws)."""

    name = "HBO as published (random)"

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.random = random.Random(0)  # noqa: S311 - it is what the peer draws with
        ends = (mixture.offsets + mixture.sizes).tolist()
        cells = [range(*bounds) for bounds in zip(mixture.offsets.tolist(), ends, strict=True)]
        self.cells = [cells[start : start + mixture.levels] for start in range(0, len(cells), mixture.levels)]
        self.datasets, self.levels = range(mixture.datasets), range(mixture.levels)

    @classmethod
    def form(cls, mixture: Mixture, weights: NDArray[np.float64]) -> Any:
        table = weights.reshape(mixture.datasets, mixture.levels)
        return table.sum(axis=1).tolist(), table.tolist()

    def reweight(self, weights: Any) -> None:
        self.across, self.within = weights

    def draw(self, count: int) -> list[int]:
        return [self._row() for _ in range(count)]

    def _row(self) -> int:
        dataset = self.random.choices(self.datasets, weights=self.across)[0]
        level = self.random.choices(self.levels, weights=self.within[dataset])[0]
        return self.random.choice(self.cells[dataset][level])

    def state(self) -> Any:
        return self.random.getstate(), (self.across, self.within)

    def restore(self, state: Any) -> None:
        generator, weights = state
        self.random.setstate(generator)
        self.reweight(weights)


class NumPyTwoStep(Contender):
    """A cell by binary search and a row in it, from one random number a draw, so that any position can be reached."""

    name = "NumPy two-step"

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.bits = np.random.PCG64(0)
        self.generator = np.random.Generator(self.bits)
        self.start = self.bits.state

    def reweight(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights
        self.ends = weights.cumsum()
        self.slope = self.mixture.sizes / weights
        self.base = self.mixture.offsets - (self.ends - weights) * self.slope
        self.ends[-1] = 1

    def draw(self, count: int) -> NDArray[np.int64]:
        point = self.generator.random(count)
        cell = self.ends.searchsorted(point, side="right")
        return (self.base.take(cell) + self.slope.take(cell) * point).astype(np.int64)

    def state(self) -> Any:
        return self.bits.state, self.weights

    def restore(self, state: Any) -> None:
        self.bits.state, weights = state
        self.reweight(weights)

    def rows_at(self, position: int, weights: NDArray[np.float64], count: int) -> Any:
        self.bits.state = self.start
        self.bits.advance(position)
        self.reweight(weights)
        return self.draw(count)


class NumPyLookUp(NumPyTwoStep):
    """The same where the rows of a cell are scattered, as difficulty levels leave them: the row is looked up."""

    name = "NumPy two-step with look-up"
    bytes_per_row = 4

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.order = np.arange(mixture.rows, dtype=np.int32)  # which row it leads to makes no difference to the time

    def draw(self, count: int) -> Any:
        return self.order.take(super().draw(count))


class NumPyCounts(Contender):
    """How many rows of each cell, then the rows, then a shuffle: the fastest way with NumPy alone that we know."""

    name = "NumPy counts, shuffled"

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.bits = np.random.SFC64(0)
        self.generator = np.random.Generator(self.bits)
        self.sizes, self.offsets = mixture.sizes.astype(np.float64), mixture.offsets.astype(np.float64)

    def reweight(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights

    def draw(self, count: int) -> NDArray[np.int64]:
        counts = self.generator.multinomial(count, self.weights)
        point = self.generator.random(count)
        point *= self.sizes.repeat(counts)
        point += self.offsets.repeat(counts)
        rows = point.astype(np.int64)
        self.generator.shuffle(rows)
        return rows

    def state(self) -> Any:
        return self.bits.state, self.weights

    def restore(self, state: Any) -> None:
        self.bits.state, self.weights = state


class NumPyWithoutReplacement(Contender):
    """A shuffled order of every cell and a cursor in it, shuffled again at the end of a lap."""

    name = "NumPy without replacement"
    bytes_per_row = 4

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.bits = np.random.SFC64(0)
        self.generator = np.random.Generator(self.bits)
        self.order = np.arange(mixture.rows, dtype=np.int32)
        self.cursors, self.ends = mixture.offsets.copy(), mixture.offsets + mixture.sizes
        for cell in range(mixture.cells):
            self._shuffle(cell)

    def _shuffle(self, cell: int) -> None:
        self.cursors[cell] = self.mixture.offsets[cell]
        self.generator.shuffle(self.order[self.cursors[cell] : self.ends[cell]])

    def reweight(self, weights: NDArray[np.float64]) -> None:
        self.weights = weights

    def draw(self, count: int) -> NDArray[np.int32]:
        counts = self.generator.multinomial(count, self.weights)
        laps = np.flatnonzero(self.cursors + counts > self.ends)
        ending = [self._over_the_end(cell, counts[cell]) for cell in laps]
        counts[laps] = 0
        first = self.cursors - (counts.cumsum() - counts)
        index = first.repeat(counts)
        index += np.arange(len(index))
        self.cursors += counts
        rows: NDArray[np.int32] = np.concatenate([self.order[index], *ending]) if ending else self.order[index]
        self.generator.shuffle(rows)
        return rows

    def _over_the_end(self, cell: int, count: int) -> NDArray[np.int32]:
        parts: list[NDArray[np.int32]] = []
        while count:
            if self.cursors[cell] == self.ends[cell]:
                self._shuffle(cell)
            part = self.order[self.cursors[cell] : min(self.cursors[cell] + count, self.ends[cell])].copy()
            parts.append(part)
            self.cursors[cell] += len(part)
            count -= len(part)
        return np.concatenate(parts)

    def state(self) -> Any:
        return self.bits.state, self.weights, self.cursors.copy(), self.order.copy()

    def restore(self, state: Any) -> None:
        self.bits.state, self.weights, cursors, order = state
        self.cursors[:], self.order[:] = cursors, order
