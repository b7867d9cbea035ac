"""Fixed shares: they hold exactly, packed or not, for the whole run or in phases; rows are counted from outside."""

from __future__ import annotations

from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import pytest
from resume import assert_resumes
from runs import lines, read_trace, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import make_batcher
from hbo_plugin.training.step_shape import Bins, StepShape

NAMES = ("alpaca", "code", "chat")
SHARES = np.array([0.5, 0.3, 0.2])
WEIGHTS = dict(zip(NAMES, (SHARES * 80).tolist(), strict=True))
SIZES = np.array([[3000], [700], [90]])


def drawn(unit: str, *, packed: bool, rows: int = 8000) -> tuple[Cells, np.ndarray[Any, np.dtype[np.int64]]]:
    """So many rows, or a few more, of a run at `WEIGHTS`."""
    rng = np.random.default_rng(5)
    lengths = np.concatenate(
        [
            np.clip(rng.lognormal(mean, 0.8, count), 5, 2000).astype(np.int32)
            for mean, count in zip((4, 5, 6), SIZES.ravel(), strict=True)
        ]
    )
    cells = Cells(NAMES, SIZES, lengths, np.maximum(lengths // 3, 1).astype(np.int32), NAMES)
    config = HBOConfig.model_validate({"weights": WEIGHTS, "unit": unit})
    steps = rows
    shape = StepShape(8, 2, steps, Bins(capacity=4096, bins_per_batch=1, window=32) if packed else None)
    balancer = Balancer(
        cells,
        config,
        config.make_method(SIZES, NAMES, seed=3, batch=16),
        seed=3,
        steps=steps,
        capacity=shape.capacity,
        window=shape.window,
    )
    batcher: Any = make_batcher(shape, balancer, cells, Clock(), None)
    given: list[int] = []
    each = shape.batches if packed else shape.rows
    for number, _ in enumerate(islice(chain.from_iterable(repeat(batcher)), steps * each), 1):
        if number % each == 0:
            given += batcher.finish_step().tolist()
            if len(given) >= rows:
                break
    return cells, np.array(given)


@pytest.mark.parametrize("packed", [False, True])
def test_8000_rows_have_the_shares_of_rows(packed: bool) -> None:  # noqa: FBT001 a case
    cells, rows = drawn("row", packed=packed)
    found = np.bincount(cells.of(rows), minlength=3) / len(rows)
    np.testing.assert_allclose(found, SHARES, atol=0.001)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("unit", ["token", "trained_token"])
def test_8000_rows_have_the_shares_of_tokens(unit: str, packed: bool) -> None:  # noqa: FBT001 a case
    cells, rows = drawn(unit, packed=packed)
    of_row = {"token": cells.lengths, "trained_token": cells.trained}[unit][rows]
    found = np.bincount(cells.of(rows), weights=of_row, minlength=3) / of_row.sum()
    np.testing.assert_allclose(found, SHARES, rtol=0.01)


# Draws come in blocks of 256, each with its exact shares; a step has 4, so that 64 steps are a block.


@pytest.mark.axolotl
def test_fixed_shares_are_one_line(make_config: Any) -> None:
    hbo = {"weights": {"tales": 3, "sums": 4, "words": 1}, "record_rows": True}
    folder = train(make_config(hbo=hbo, max_steps=64))
    rows = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    assert np.bincount(np.searchsorted([80, 120, 136], rows, side="right")).tolist() == [128, 32, 96]
    trace = read_trace(folder)
    assert [record["event"] for record in trace] == ["start", "end"]
    assert trace[-1]["weights"] == {"sums": [1 / 2], "words": [1 / 8], "tales": [3 / 8]}


@pytest.mark.axolotl
def test_phases_follow_each_other_and_are_resumed(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run dies in the second phase and goes on from a checkpoint in the first."""
    phases = [
        {"until": 0.4, "sums": 3, "words": 1, "tales": 0},
        {"until": 128, "sums": 1, "words": 1, "tales": 2},
        {"sums": 0, "words": 1, "tales": 1},
    ]
    config = make_config(hbo={"weights": phases, "record_rows": True}, save_steps=50, max_steps=160)
    folder = assert_resumes(config, monkeypatch, crash_at=80)
    found = []
    for record in lines(folder / "hbo_rows.jsonl"):
        cell = np.searchsorted([80, 120, 136], record["rows"], side="right")
        found.append(np.bincount(cell, minlength=3))
    counts = np.array(found)
    first, second, third = (
        counts[steps].sum(axis=0).tolist() for steps in (slice(64), slice(64, 128), slice(128, None))
    )
    assert first == [192, 64, 0]
    # A batch is drawn ahead when a phase begins.
    assert np.abs(np.subtract(second, [64, 64, 128])).max() <= 4
    assert third[0] <= 4
    changes = [record["step"] for record in read_trace(folder) if record["event"] == "update"]
    assert changes == [64, 128]


@pytest.mark.axolotl
def test_a_cap_counts_what_is_left_of_a_phase(make_config: Any) -> None:
    """192 tales are wanted in the first half and none after it; a cap of five epochs leaves 80.

    A batch is drawn ahead when a phase begins."""
    phases = [{"until": 0.5, "sums": 1, "words": 0, "tales": 3}, {"sums": 1, "words": 1, "tales": 0}]
    last = read_trace(train(make_config(hbo={"weights": phases, "max_epochs": {"tales": 5}}, max_steps=128)))[-1]
    assert 77 <= last["rows_trained"]["tales"][0] <= 84
    whole = read_trace(train(make_config(hbo={"weights": phases}, max_steps=128)))[-1]
    assert whole["rows_trained"]["tales"][0] == pytest.approx(192, abs=4)


@pytest.mark.axolotl
def test_the_prior_holds_at_first(make_config: Any) -> None:
    hbo = {"update_every": 3, "levels": 2, "reward": {"global": "loss", "local": "loss"}, "hold_steps": 0.5}
    trace = read_trace(train(make_config(hbo=hbo)))
    assert [record["step"] for record in trace if record["event"] == "update"] == [6, 9]
