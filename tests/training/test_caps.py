"""The repetition cap against small examples by hand, a bisection, and its promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hbo_plugin.training.caps import cap_weights

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
