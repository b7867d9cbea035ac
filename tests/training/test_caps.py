"""The repetition cap against small examples by hand, a bisection, its promises, and the rows of whole runs."""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import make_batcher
from hbo_plugin.training.caps import cap_weights
from hbo_plugin.training.step_shape import Bins, StepShape

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize(
    ("weights", "allowance", "horizon", "expected", "bound"),
    [
        # 50 of 100 draws asked, 20 allowed: the other 30 go 3 to 2 to the others.
        ([0.5, 0.3, 0.2], [20, 90, 90], 100, [0.2, 0.48, 0.32], [True, False, False]),
        # Giving those 30 away puts the second cell over its 40 in turn.
        ([0.5, 0.3, 0.2], [20, 40, 90], 100, [0.2, 0.4, 0.4], [True, True, False]),
        # An exhausted cell gives nothing; a cell of weight 0 gets nothing, though it could give all.
        ([0.5, 0.5, 0.0], [0, 100, 100], 100, [0.0, 1.0, 0.0], [True, False, False]),
        # Below 0 (drawn past the cap before) is as good as exhausted.
        ([0.5, 0.5], [-7, 100], 100, [0.0, 1.0], [True, False]),
        # Infinity is no cap.
        ([0.5, 0.5], [10, np.inf], 100, [0.1, 0.9], [True, False]),
        # All of it together is just enough, and then not enough.
        ([0.5, 0.5], [30, 70], 100, [0.3, 0.7], [True, False]),
        ([0.5, 0.5], [10, 30], 100, [0.25, 0.75], [True, True]),
        # Nothing is left at all.
        ([0.6, 0.4, 0.0], [0, 0, 50], 100, [0.6, 0.4, 0.0], [True, True, False]),
    ],
)
def test_by_hand(
    weights: list[float], allowance: list[float], horizon: int, expected: list[float], bound: list[bool]
) -> None:
    capped, held = cap_weights(np.array(weights), np.array(allowance), horizon)
    np.testing.assert_allclose(capped, expected, rtol=1e-12)
    np.testing.assert_array_equal(held, bound)


def test_where_no_cap_binds_the_weights_come_back_bit_for_bit() -> None:
    weights = np.array([[0.1, 0.2], [0.3, 0.4]])
    for allowance, horizon in ((np.full((2, 2), 40.0), 100), (np.zeros((2, 2)), 0), (np.full((2, 2), np.inf), 9)):
        capped, bound = cap_weights(weights, allowance, horizon)
        np.testing.assert_array_equal(capped, weights)
        assert not bound.any()
        assert capped is not weights


@st.composite
def asked(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Weights with some zeros, allowances of the horizon's size, and the horizon."""
    cells = draw(st.integers(1, 12))
    share = st.one_of(st.just(0.0), st.floats(1e-9, 1))
    raw = draw(hnp.arrays(np.float64, cells, elements=share))
    assume(raw.any())
    allowance = draw(hnp.arrays(np.float64, cells, elements=st.integers(-5, 2000).map(float)))
    return raw / raw.sum(), allowance, draw(st.integers(0, 3000))


@given(asked())
def test_promises(case: tuple[NDArray[np.float64], NDArray[np.float64], int]) -> None:
    weights, allowance, horizon = case
    capped, bound = cap_weights(weights, allowance, horizon)
    live, left = weights > 0, np.maximum(allowance, 0)
    assert (capped >= 0).all()
    assert capped.sum() == pytest.approx(1, abs=1e-12)
    assert not capped[~live].any()
    assert not bound[~live].any()
    if left[live].sum() >= horizon:
        assert (capped * horizon <= left * (1 + 1e-9) + 1e-9).all()
        free = live & ~bound
        # Nobody who is free loses, all of them gain by the same factor, and the bound ones lose or gain less.
        factors = capped[free] / weights[free]
        assert (factors >= 1 - 1e-9).all()
        np.testing.assert_allclose(factors, factors[:1].repeat(len(factors)), rtol=1e-9)
        assert (capped[bound] <= weights[bound] * factors.max(initial=1) * (1 + 1e-9) + 1e-12).all() or not free.any()
    else:
        assert bound[live].all()


@given(asked())
def test_agrees_with_a_bisection_for_the_water_level(
    case: tuple[NDArray[np.float64], NDArray[np.float64], int],
) -> None:
    weights, allowance, horizon = case
    left = np.where(weights > 0, np.maximum(allowance, 0), 0)
    assume(horizon > 0)
    assume(left.sum() > horizon)
    low, high = 0.0, 1e16
    for _ in range(200):
        middle = (low + high) / 2
        if np.minimum(middle * weights * horizon, left).sum() < horizon:
            low = middle
        else:
            high = middle
    expected = np.minimum(high * weights * horizon, left) / horizon
    np.testing.assert_allclose(cap_weights(weights, allowance, horizon)[0], expected, rtol=1e-6, atol=1e-9)


# The rows of whole runs

SIZES = np.array([[7], [40], [200]])
STEPS = 55


def repeats(seed: int, *, packed: bool, swings: bool, replacement: bool = False) -> NDArray[np.int64]:
    """Train on nothing; how often every row was given, int64[rows]."""
    lengths = np.random.default_rng(seed).integers(20, 200, SIZES.sum()).astype(np.int32)
    names = ("a", "b", "c")
    cells = Cells(names, SIZES, lengths, lengths, names)
    method = {"method": "random" if swings else "static", "prior": "uniform"} | ({"spread": 100} if swings else {})
    config = HBOConfig.model_validate({**method, "max_epochs": 3, "replacement": replacement, "levels": 1})
    # A bin holds some 5 rows.
    shape = StepShape(5, 2, STEPS, Bins(capacity=550, bins_per_batch=1, window=16) if packed else None)
    made = config.make_method(SIZES, names, seed=seed, batch=10)
    balancer = Balancer(cells, config, made, seed=seed, steps=STEPS, capacity=shape.capacity, window=shape.window)
    batcher: Any = make_batcher(shape, balancer, cells, Clock(), None)
    given = np.zeros(SIZES.sum(), np.int64)
    signals = {"gradient_norm": np.ones(3), "perplexity_ratio": np.ones((3, 1))}
    each = shape.batches if packed else shape.rows
    for number, _ in enumerate(islice(chain.from_iterable(repeat(batcher)), STEPS * each), 1):
        if number % each == 0:
            rows = batcher.finish_step()
            balancer.count(rows)
            given += np.bincount(rows, minlength=given.size)
            if swings and number // each % 5 == 0:
                balancer.update(signals, batcher.head)
    return given


@pytest.mark.parametrize("swings", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_no_row_of_a_run_is_repeated_more_often_than_the_cap_says(*, packed: bool, swings: bool) -> None:
    used = np.zeros(3)
    for seed in range(30):
        given = repeats(seed, packed=packed, swings=swings)
        assert given.max() <= 3, seed
        used += [cell.sum() for cell in np.split(given, [7, 47])]
    # The cap does not take more than it must: a dataset that it holds down is used up nearly as far as it allows.
    assert used[0] / 30 > (0.8 if packed else 0.95) * 3 * 7


def test_with_replacement_a_dataset_gives_no_more_rows_than_the_cap_says() -> None:
    for seed in range(10):
        given = repeats(seed, packed=False, swings=True, replacement=True)
        assert all(cell.sum() <= 3 * cell.size for cell in np.split(given, [7, 47]))
