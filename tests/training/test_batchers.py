"""Batchers: the rows of a step, as each of its micro-batches asks for them."""

import numpy as np
import pytest

pytest.importorskip("torch")

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import make_batcher
from hbo_plugin.training.step_shape import StepShape

LENGTHS = np.full(200, 8, np.int32)
CELLS = Cells(("a", "b"), np.full((2, 2), 50), LENGTHS, LENGTHS, ("", ""))
SHAPE = StepShape(micro_batch=4, batches=6, steps=10)


def test_the_rows_of_a_step_are_listed_once() -> None:
    """With many ranks that accumulate gradients, a list for each micro-batch would take longer than the step itself."""
    config = HBOConfig()
    method = config.make_method(CELLS.sizes, CELLS.names, seed=3, batch=SHAPE.rows)
    batcher = make_batcher(SHAPE, Balancer(CELLS, config, method, seed=3, steps=10, capacity=24), CELLS, Clock(), None)
    loader = iter(batcher)  # type: ignore[call-overload]
    first, second = ([next(loader) for _ in range(SHAPE.rows)] for _ in range(2))  # the loader fetches ahead
    for drawn in (first, second):
        batches = batcher.batches()
        assert batches == [[[row] for row in drawn[start : start + 4]] for start in range(0, 24, 4)]
        assert batcher.batches() is batches
        assert batcher.finish_step().tolist() == drawn
    again = iter(batcher)  # type: ignore[call-overload]
    drawn = [next(again) for _ in range(3 * SHAPE.rows)][2 * SHAPE.rows :]  # the loader passes over two steps
    assert [row for batch in batcher.batches() for (row,) in batch] == drawn
