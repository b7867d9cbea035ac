"""Weights from a column: their mean over the tokens of a step, row by row from the definition."""

import json
import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbo_plugin.row_weights.base import SeenRows
from hbo_plugin.row_weights.column import ColumnWeights

VALUES = [0.0, 2.0, 0.5, 4.0, 1.0]
TRAINED = [10, 1, 6, 2, 0]


def column(values: Any = VALUES, trained: Any = TRAINED, *, normalise: bool = True) -> ColumnWeights:
    return ColumnWeights(np.array(values, np.float64), np.array(trained, np.int32), normalise=normalise)


def seen(rows: list[int]) -> SeenRows:
    """Of these rows all that `ColumnWeights` may look at; what else it looks at has other lengths, which would be an error."""
    nothing: Any = np.empty(0)
    return SeenRows(np.array(rows, np.int64), nothing, nothing, nothing, nothing, nothing)


def weights(made: ColumnWeights, rows: list[int], micro_batch: list[int] | None = None, step: int = 1) -> list[float]:
    made.begin_step(step, np.array(rows, np.int64))
    found: list[float] = made.weights(seen(rows if micro_batch is None else micro_batch)).tolist()
    return found


def test_values_are_divided_by_their_mean_over_the_tokens_of_the_step() -> None:
    """Rows 1, 2 and 3: (2 * 1 + 0.5 * 6 + 4 * 2) / (1 + 6 + 2) is 13 / 9; row 0 brings 10 tokens of weight 0."""
    assert weights(column(), [1, 2, 3]) == pytest.approx([2 * 9 / 13, 0.5 * 9 / 13, 4 * 9 / 13], rel=1e-15)
    assert weights(column(), [3, 0, 1, 2]) == pytest.approx([4 * 19 / 13, 0, 2 * 19 / 13, 0.5 * 19 / 13], rel=1e-15)


def test_the_mean_is_that_of_the_step_and_not_of_a_micro_batch() -> None:
    made = column()
    assert weights(made, [1, 2, 3], [3]) == pytest.approx([4 * 9 / 13], rel=1e-15)
    assert made.weights(seen([2, 1])).tolist() == pytest.approx([0.5 * 9 / 13, 2 * 9 / 13], rel=1e-15)
    assert weights(made, [1], [1], step=2) == [1.0]


def test_a_row_that_is_drawn_twice_counts_twice() -> None:
    """(2 * 1 + 2 * 1 + 4 * 2) / (1 + 1 + 2) is 3."""
    assert weights(column(), [1, 3, 1]) == pytest.approx([2 / 3, 4 / 3, 2 / 3], rel=1e-15)


def test_without_normalising_values_are_the_weights() -> None:
    assert weights(column(normalise=False), [3, 0, 2]) == [4.0, 0.0, 0.5]


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[float], list[int], list[int], float]:
    """Values and trained tokens of some rows, rows of a step that are worth something, and a scale of the column."""
    count = draw(st.integers(1, 8))
    values = draw(st.lists(st.just(0.0) | st.floats(1e-3, 1e3), min_size=count, max_size=count))
    trained = draw(st.lists(st.integers(0, 5000), min_size=count, max_size=count))
    place = draw(st.integers(0, count - 1))
    values[place], trained[place] = draw(st.floats(1e-3, 1e3)), draw(st.integers(1, 5000))
    rows = draw(st.lists(st.integers(0, count - 1), max_size=12))
    return values, trained, [place, *rows], 10.0 ** draw(st.integers(-290, 304))


@given(steps())
def test_the_weights_of_a_step_have_the_mean_1_whatever_the_scale_of_the_column(
    step: tuple[list[float], list[int], list[int], float],
) -> None:
    values, trained, rows, scale = step
    found = weights(column([value * scale for value in values], trained), rows)
    tokens = [trained[row] for row in rows]
    assert sum(weight * count for weight, count in zip(found, tokens, strict=True)) / sum(tokens) == pytest.approx(1)
    assert all(np.isfinite(found))
    assert found == pytest.approx(weights(column(values, trained), rows), rel=1e-9)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 500)), min_size=1, max_size=12).filter(
        lambda x: any(v for v, _ in x)
    )
)
def test_chosen_rows_have_the_tokens_of_all_over_those_of_the_chosen(rows: list[tuple[bool, int]]) -> None:
    """A column of 0 and 1: the chosen rows are trained on as if the others were not in the step, at the size of the whole."""
    kept = sum(tokens for chosen, tokens in rows if chosen)
    factor = sum(tokens for _, tokens in rows) / kept
    found = weights(column(*zip(*rows, strict=True)), [*range(len(rows))])
    assert found == pytest.approx([factor if chosen else 0 for chosen, _ in rows], rel=1e-12)


@pytest.mark.parametrize("normalise", [True, False])
def test_a_step_of_rows_that_are_worth_nothing_is_counted(caplog: pytest.LogCaptureFixture, *, normalise: bool) -> None:
    made = column(normalise=normalise)
    with caplog.at_level(logging.WARNING):
        assert weights(made, [0, 0], step=7) == [0.0, 0.0]
        assert weights(made, [4], step=8) == [1.0]  # it has no token, so nothing comes of its weight
        assert weights(made, [1, 0], step=9) == ([11.0, 0.0] if normalise else [2.0, 0.0])
        for step in range(10, 108):
            weights(made, [0], step=step)
    assert made.empty_steps == 100
    assert [record.getMessage() for record in caplog.records] == [
        f"hbo: no row of step {step} has a row weight above 0 and a token to learn, so nothing is learned from it ({count} such "
        "steps so far)."
        for step, count in ((7, 1), (17, 10), (107, 100))
    ]


def test_a_resumed_run_goes_on_counting_with_the_same_numbers_alone() -> None:
    first, second = column(), column()
    weights(first, [0])
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    assert second.empty_steps == 1
    assert second.state_dict() == state
    other = column([0.0, 2.0, 0.5, 4.0, 1.5])
    with pytest.raises(ValueError, match=r"the numbers in the column of `hbo\.row_weights` are not those of the check"):
        other.load_state_dict(state)
