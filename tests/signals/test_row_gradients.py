"""Row gradients: squares of means from pairs of rows of about one time, whatever ranks they were on."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from hbo_plugin.signals.layers import SKETCH
from hbo_plugin.signals.row_gradients import _GROUP, RowGradients


def rows_around(mean: float, count: int, rng: np.random.Generator) -> Any:
    """Sketches of rows whose mean gradient has the norm `mean`, and whose variance is 4."""
    direction = np.ones(SKETCH) / SKETCH**0.5
    return mean * direction + rng.normal(size=(count, SKETCH)) * 2 / SKETCH**0.5


def test_norm_and_variance_are_those_of_the_rows() -> None:
    rng, sums = np.random.default_rng(0), RowGradients(2)
    for _ in range(60):
        sums.add(
            np.array([0] * 6 + [1] * 6),
            np.concatenate([rows_around(1, 6, rng), rows_around(0.1, 6, rng)]),
            np.full(12, 1),
        )
        sums.close_step(sums.seen.copy())
    norm, variance = sums.measure(np.array([400]))
    np.testing.assert_allclose(variance, 4, rtol=0.05)
    np.testing.assert_allclose(norm, np.sqrt([1 + 0.01, 0.01 + 0.01]), rtol=0.1)


def test_the_norm_is_that_of_a_mean_loss_a_token() -> None:
    sums = RowGradients(1)
    sums.add(
        np.zeros(4, np.int64), np.tile(rows_around(3, 1, np.random.default_rng(0)), (4, 1)), np.array([1, 2, 3, 2])
    )
    once = sums.seen.copy()
    sums.close_step(once)
    norm, variance = sums.measure(np.array([8]))
    assert norm[0] == pytest.approx(np.sqrt(once[0, SKETCH] / 4) / 2)
    assert variance[0] == pytest.approx(0, abs=1e-9)


def test_rows_of_different_times_are_not_paired() -> None:
    """A gradient that turns around in mid-window is as long as it always was."""
    sums = RowGradients(1)
    row = rows_around(1, 1, np.random.default_rng(0)) * 0 + np.eye(1, SKETCH)
    for sign in (1, -1):
        sums.add(np.zeros(_GROUP, np.int64), np.tile(sign * row, (_GROUP, 1)), np.ones(_GROUP, np.int64))
        sums.close_step(sums.seen.copy())
    assert sums.measure(np.array([8]))[0][0] == pytest.approx(1)


def test_a_group_goes_over_steps_that_have_few_rows() -> None:
    sums, rng = RowGradients(1), np.random.default_rng(0)
    for _ in range(_GROUP):
        sums.add(np.zeros(1, np.int64), rows_around(1, 1, rng), np.ones(1, np.int64))
        sums.close_step(sums.seen.copy())
    assert sums.open[0, -2] == 0
    assert sums.closed[0, 1] == _GROUP * (_GROUP - 1)


def test_a_dataset_without_a_pair_is_not_measured() -> None:
    sums = RowGradients(2)
    sums.add(np.zeros(1, np.int64), np.ones((1, SKETCH)), np.ones(1, np.int64))
    sums.close_step(sums.seen.copy())
    norm, variance = sums.measure(np.array([8]))
    assert np.isnan(norm).all()
    assert np.isnan(variance).all()
