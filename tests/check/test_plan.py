"""The plan of a run: what it draws, and when a dataset was seen once, against numbers by hand and rows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.check.plan import Plan, plan
from hbo_plugin.check.signals import SignalPlan
from hbo_plugin.signals.choice import Choice
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.step_shape import Bins, StepShape

NAMES = ("large", "small")
SIZES = np.array([[100], [20]])
LENGTHS = np.repeat([10, 20], [100, 20]).astype(np.int32)
NOTHING = Choice({}, passes=True)


def balancer_of(block: dict[str, Any], shape: StepShape, sizes: Any = SIZES) -> tuple[HBOConfig, Balancer]:
    trained = np.where(np.arange(120) < 5, 0, LENGTHS // 2).astype(np.int32)
    cells = Cells(NAMES, sizes, LENGTHS, trained, NAMES)
    config = HBOConfig.model_validate(block)
    method = config.make_method(sizes, NAMES, seed=3, batch=shape.rows)
    keys: dict[str, Any] = {"seed": 3, "steps": shape.steps, "capacity": shape.capacity, "window": shape.window}
    return config, Balancer(cells, config, method, **keys)


def planned(
    block: dict[str, Any], shape: StepShape, sizes: Any = SIZES, choice: Choice = NOTHING, target: tuple[str, ...] = ()
) -> Plan:
    config, balancer = balancer_of(block, shape, sizes)
    return plan(
        balancer,
        shape,
        config,
        choice,
        raw_rows={"large": 103, "small": 20},
        judges={"small": 4},
        tied={"small": "small"},
        unscored={"large": 7},
        target=dict.fromkeys(target, 1.0),
        counted={"small"} & {*target},
    )


def test_a_block_of_draws_has_the_shares_of_the_weights() -> None:
    """256 rows, a quarter of them of 20 rows: 3.2 epochs."""
    made = planned({"weights": {"large": 3, "small": 1}}, StepShape(2, 2, 64))
    large, small = made.datasets
    assert (large.name, large.raw_rows, large.rows, large.held_out, large.masked_rows) == ("large", 103, 100, 0, 5)
    assert (large.tokens, large.trained_tokens, large.levels, large.unscored) == (1000, 475, 1, 7)
    assert (large.rows_drawn, large.tokens_drawn, large.epochs) == (192, 1920, 1.92)
    assert (small.rows_drawn, small.tokens_drawn, small.epochs) == (64, 1280, 3.2)
    assert (small.held_out, small.unscored) == (4, 0)
    assert (small.asked, small.weights, small.capped) == ((0.25,), (0.25,), (False,))
    assert (made.steps, made.step, made.phases, made.estimated) == (64, "4 rows", (0,), False)
    assert made.signals == ()


@pytest.mark.parametrize("levels", [1, 2])
def test_a_dataset_is_seen_once_when_each_of_its_rows_was_drawn(levels: int) -> None:
    sizes = SIZES if levels == 1 else np.array([[70, 30], [5, 15]])
    block = {"weights": {"large": 3, "small": 1}, "levels": levels}
    made = planned(block, StepShape(2, 2, 64), sizes)
    _, balancer = balancer_of(block, StepShape(2, 2, 64), sizes)
    rows = balancer.mixture.fill(0, 256)
    for each, wanted in zip(made.datasets, (range(100), range(100, 120)), strict=True):
        last = max(int(np.flatnonzero(rows == row)[0]) for row in wanted)
        assert each.seen_once == last // 4 + 1
    assert made.first_used_up == "small"


def test_a_dataset_that_is_not_seen_once() -> None:
    made = planned({"weights": {"large": 1, "small": 1}}, StepShape(2, 2, 8))
    assert [each.seen_once for each in made.datasets] == [None, None]
    assert made.first_used_up is None


def test_a_cap_lowers_a_weight() -> None:
    """20 rows in 1.6 epochs are 32 of the 256 draws."""
    made = planned({"weights": {"large": 3, "small": 1}, "max_epochs": {"small": 1.6}}, StepShape(2, 2, 64))
    assert [each.capped for each in made.datasets] == [(False,), (True,)]
    assert [each.asked for each in made.datasets] == [(0.75,), (0.25,)]
    assert made.datasets[1].weights[0] == pytest.approx(0.125)
    assert [each.rows_drawn for each in made.datasets] == [224, 32]


def test_phases_begin_behind_what_is_loaded_ahead() -> None:
    """An epoch has 30 steps. After step 64, the four rows of the next step are drawn already; after step 90, none are."""
    for until, ahead in ((64, 4), (90, 0)):
        weights = [{"until": until, "large": 1, "small": 0}, {"large": 0, "small": 1}]
        made = planned({"weights": weights}, StepShape(2, 2, 128))
        assert made.phases == (0, until)
        assert [each.rows_drawn for each in made.datasets] == [until * 4 + ahead, 512 - until * 4 - ahead]
        assert made.datasets[0].weights == (1.0, 0.0)


def test_packed_rows_are_counted_by_their_mean_lengths() -> None:
    """Steps of 200 tokens: 20 of the large dataset's rows, or 10 of the small one's."""
    shape = StepShape(1, 2, 8, Bins(capacity=100, bins_per_batch=1, window=4))
    made = planned({"weights": [{"until": 4, "large": 1, "small": 0}, {"large": 0, "small": 1}]}, shape)
    assert made.estimated
    assert made.step == "2 batches of 1 x 100 tokens"
    # Four rows of the large dataset wait when the phase begins: 840 tokens are its own, and 760 the other's.
    assert [each.rows_drawn for each in made.datasets] == [84, 38]
    assert [each.tokens_drawn for each in made.datasets] == [840, 760]
    assert made.datasets[1].seen_once == 7  # 84 rows, and 20 of 20 tokens, are 1,240


def test_what_weighs_the_rows_is_told_in_words() -> None:
    shape = StepShape(2, 2, 64)
    assert (
        planned({"row_weights": {"column": "quality", "normalise": False}}, shape).row_weights == "the column `quality`"
    )
    assert planned({}, shape).row_weights is None


def test_signals_have_their_source_and_cost() -> None:
    choice = Choice({"reuse": ("loss",), "probe": ("gradient_norm", "similarity")}, passes=True)
    made = planned({"gradient_rows": 5, "forward_rows": 6}, StepShape(2, 2, 64), choice=choice)
    assert made.moments == "Every 100 steps"
    assert made.signals == (
        SignalPlan("loss", "the training batches", "no pass"),
        SignalPlan("gradient_norm", "passes over a sample of rows", "forward and backward over 5 rows of each dataset"),
        SignalPlan("similarity", "passes over a sample of rows", "forward over 6 rows of each cell"),
    )


def test_copies_cost_their_steps() -> None:
    """A blind copy takes 4 steps of 5 rows, and one for each of two sets takes as many and as many of the set's."""
    block = {"gradient_rows": 5, "forward_rows": 6, "copy_steps": 4}
    made = planned(block, StepShape(2, 2, 64), choice=Choice({"probe": ("transfer",)}, passes=True), target=("a", "b"))
    assert [each.cost for each in made.signals] == [
        (
            "forward and backward over 100 rows by copies, each of which then goes forward over 6 rows of each cell and the "
            "held-out rows; once for all signals of copies"
        )
    ]
