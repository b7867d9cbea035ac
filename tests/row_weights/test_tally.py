"""What row weights came to, against NumPy's own functions."""

from typing import Any

import numpy as np
import pytest

from hbo_plugin.cells import Cells
from hbo_plugin.row_weights.base import SeenRows
from hbo_plugin.row_weights.tally import Tally

TOKENS = np.array([3, 1, 4, 1, 5, 9, 2, 6], np.int32)
CELLS = Cells(("a", "b"), np.array([[2, 2], [3, 1]]), TOKENS, TOKENS, ("x", "y"))


def seen(rows: list[int], losses: list[float]) -> SeenRows:
    number = np.array(rows)
    cell = CELLS.of(number)
    return SeenRows(number, cell // 2, cell % 2, TOKENS[number].astype(np.int64), np.array(losses), np.array(losses))


def test_numbers_of_two_steps() -> None:
    tally = Tally(CELLS)
    rows, losses, weights = [0, 1, 4, 2, 0, 5], [2.0, np.nan, 3.0, 1.0, 2.5, 0.5], [1.0, 2.0, 0.5, 0.0, 3.0, 1.5]
    tally.add(seen(rows[:3], losses[:3]), np.array(weights[:3]))
    tally.add(seen(rows[3:], losses[3:]), np.array(weights[3:]))
    told: dict[str, Any] = tally.take()
    tokens, given = TOKENS[rows], np.array(weights)
    assert told["mean"] == pytest.approx(np.average(given, weights=tokens))
    assert told["std"] == pytest.approx(given.std())
    assert told["effective"] == pytest.approx(given.sum() ** 2 / (6 * (given**2).sum()))
    assert told["zero"] == pytest.approx(1 / 6)
    known = np.isfinite(losses)
    assert told["with_loss"] == pytest.approx(np.corrcoef(given[known], np.array(losses)[known])[0, 1])
    of_a = np.array(rows) < 4
    assert told["datasets"] == pytest.approx([np.average(given[part], weights=tokens[part]) for part in (of_a, ~of_a)])
    assert told["cells"][0] == pytest.approx([(3 * 1 + 2 + 3 * 3) / 7, 0.0])
    assert told["cells"][1][1] is None
    assert told["lowest"] == [[2, 0.0], [4, 0.5], [5, 1.5], [1, 2.0], [0, 3.0]]  # the last weight of each


def test_what_was_told_is_forgotten_but_for_the_last_weights() -> None:
    tally = Tally(CELLS)
    tally.add(seen([0, 1], [1.0, 2.0]), np.array([1.0, 2.0]))
    tally.take()
    told = tally.take()
    assert told["mean"] is told["std"] is told["with_loss"] is None
    assert told["lowest"] == [[0, 1.0], [1, 2.0]]


def test_a_resumed_tally_goes_on() -> None:
    through, stopped, resumed = Tally(CELLS), Tally(CELLS), Tally(CELLS)
    for tally in (through, stopped):
        tally.add(seen([0, 1, 4], [1.0, 2.0, 4.0]), np.array([1.0, 2.0, 0.5]))
    resumed.load_arrays({name: array.copy() for name, array in stopped.arrays().items()})
    for tally in (through, resumed):
        tally.add(seen([7, 2, 3], [1.5, 2.5, 0.5]), np.array([0.25, 2.5, 0.75]))
    assert through.take() == resumed.take()
