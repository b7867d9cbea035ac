"""The course of a run at its first weights: its phases, and what it has drawn by each step. It moves the balancer."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.packing import PackedBatchSampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import Bins, StepShape

_MEASURED = 1024
"""Bins that are packed to see how full they get."""


class Course:
    """The phases of a run, and what it has drawn by each step."""

    def __init__(self, balancer: Balancer, shape: StepShape) -> None:
        self._balancer, self._shape = balancer, shape
        self._sizes = balancer.cells.sizes.ravel()
        self._cost = balancer.cells.mean_units("token" if shape.bins else "row")
        self._capacity = shape.capacity * (_filled(balancer, shape, shape.bins) if shape.bins else 1)
        self.begins: list[int] = []
        """The step after which each phase begins."""
        self.phases: dict[str, list[NDArray[Any]]] = {"asked": [], "weights": [], "capped": []}
        """By dataset, in each phase."""
        self._enter(0)
        while balancer.holds_until < shape.steps:
            step = balancer.holds_until
            if balancer.advance(step):
                balancer.reweigh(self._head(step))
                self._enter(step)
        self.drawn = self._given(self._trained(shape.steps))
        """Rows of each cell that the run trains on, int64[datasets * levels]."""

    def _enter(self, step: int) -> None:
        weights = self._balancer.weights()
        self.begins.append(step)
        self.phases["asked"].append(self._balancer.method.weights().sum(axis=1))
        self.phases["weights"].append(weights.sum(axis=1))
        self.phases["capped"].append(np.any(self._balancer.capped.reshape(weights.shape), axis=1))

    def _head(self, step: int) -> int:
        """Where new weights take force after a step: behind the rows that wait for a bin, or that are loaded ahead."""
        if self._shape.bins:
            return self._trained(step) + self._shape.bins.window
        generation = self._shape.generation
        rows, steps = (generation.prompts, generation.steps) if generation else (self._shape.rows, 1)
        epoch = -(-int(self._sizes.sum()) // rows) * steps
        # The loader takes the first batch of the next step ahead, and with it all its rows; but not of the next epoch.
        return self._trained(step + (1 if step % epoch else 0))

    def _trained(self, step: int) -> int:
        """How many rows were trained on after a step; where they are packed, as many as their mean lengths let in."""
        if generation := self._shape.generation:
            return -(-step // generation.steps) * generation.prompts
        room = step * self._capacity
        return bisect_right(range(int(room / self._cost.min()) + 1), room, key=self._taken) - 1

    def _taken(self, rows: int) -> float:
        """What the first rows of the stream take of the capacity of steps."""
        return float(self._given(rows) @ self._cost)

    def _given(self, rows: int) -> NDArray[np.int64]:
        """How many of the first rows of the stream each cell has given, int64[datasets * levels]."""
        return self._balancer.mixture.counts(0, rows)

    def seen_once(self, cells: slice) -> int | None:
        """The step after which these cells have given all their rows; None where they do not."""
        rows = range(self._trained(self._shape.steps) + 1)
        given = bisect_left(rows, 1, key=lambda count: int((self._given(count) >= self._sizes)[cells].all()))
        return math.ceil(self._taken(given) / self._capacity) if given < len(rows) else None


def _filled(balancer: Balancer, shape: StepShape, bins: Bins) -> float:
    """How much of its bins a run fills, measured on the first of them."""
    count = min(shape.steps * shape.batches * bins.bins_per_batch, _MEASURED)
    lengths = balancer.cells.lengths
    packed = PackedBatchSampler(balancer.mixture, lengths, capacity=bins.capacity, window=bins.window)
    rows = np.fromiter(chain.from_iterable(islice(packed, count)), np.int64)
    return float(lengths[rows].sum()) / (count * bins.capacity)
