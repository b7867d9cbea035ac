"""The frontier: datasets keep their prior, and levels follow the variance of rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from method_cases import make

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

ROWS = np.array([[10, 10, 10], [30, 30, 0]])


def told(method: Method, *variances: list[float]) -> NDArray[np.float64]:
    method.update({"reward_variance": np.array(variances)})
    return method.weights()


def test_levels_go_where_answers_differ() -> None:
    method = make("frontier", ROWS, prior="proportional", step_size=1.0, floor=0.0, ema_decay=0.0)
    np.testing.assert_allclose(method.weights() * 9, np.array([[1, 1, 1], [3, 3, 0]]))
    found = told(method, [0.25, 0.05, 0.2], [0.1, 0.1, np.nan])
    np.testing.assert_allclose(found * 9, np.array([[1.5, 0.3, 1.2], [3, 3, 0]]))
    found = told(method, [0.0, 0.25, 0.0], [np.nan, np.nan, np.nan])
    np.testing.assert_allclose(found * 9, np.array([[0.0, 3.0, 0.0], [3.0, 3.0, 0.0]]), atol=1e-12)


def test_a_level_that_teaches_nothing_is_still_asked() -> None:
    """By default, so that it is found again when the model has grown into it."""
    method = make("frontier", ROWS, prior="uniform")
    for _ in range(30):
        weights = told(method, [0.0, 0.25, 0.1], [0.2, 0.0, np.nan])
    np.testing.assert_allclose(weights.sum(axis=1), 0.5)
    assert weights[0, 0] == pytest.approx(0.5 * 0.05 / 3)
    assert weights[1, 1] == pytest.approx(0.5 * 0.05 / 2)
    for _ in range(6):
        weights = told(method, [0.25, 0.0, 0.0], [0.0, 0.2, np.nan])
    assert weights[0, 0] > 0.4
    assert weights[1, 1] > 0.4
