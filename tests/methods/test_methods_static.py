"""The methods whose weights never change, against their formulas; and the replay of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from method_cases import ROWS, build, make, names, write_trace

if TYPE_CHECKING:
    from pathlib import Path

    from hbo_plugin.methods import Method


@pytest.mark.parametrize(
    ("method", "datasets"),
    [
        (make("proportional", ROWS), [76 / 985, 901 / 985, 8 / 985]),
        (make("uniform", ROWS), [1 / 3, 1 / 3, 1 / 3]),
        (make("temperature", np.array([[8, 0], [13, 14], [64, 61]]), temperature=3.0), [0.2, 0.3, 0.5]),
        (make("capped", ROWS, limit=100), [76 / 184, 100 / 184, 8 / 184]),
        (make("capped", np.array([[9000], [2000], [3001]])), [3 / 8, 2 / 8, 3 / 8]),
        (make("given", ROWS, names=["a", "b", "c"], weights={"c": 6, "a": 2, "b": 4.0}), [1 / 6, 1 / 3, 1 / 2]),
        (make("given", ROWS[:2], names=["a", "b"], weights={"a": 1.5e308, "b": 0.5e308}), [0.75, 0.25]),
    ],
)
def test_static_weights_of_datasets(method: Method, datasets: list[float]) -> None:
    np.testing.assert_allclose(method.weights().sum(axis=1), datasets, rtol=1e-12)


@pytest.mark.parametrize("name", ["proportional", "temperature", "uniform", "capped", "given"])
def test_static_levels_follow_their_rows_and_updates_change_nothing(name: str) -> None:
    method = build(name, ROWS)
    before = method.weights()
    shares = before / before.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, ROWS / ROWS.sum(axis=1, keepdims=True), rtol=1e-12)
    assert method.signals == ()
    method.update({})
    method.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(method.weights(), before)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            [1, 2],
            "`hbo.weights: [1, 2]` was given, but it must be a block of keys; change it.",
        ),
        (
            {"a": 1, "caht": 2},
            "`hbo.weights` names the dataset `caht`, but the datasets are `a`, `chat`; did you mean `chat`?",
        ),
        (
            {"a": 1, "zzz": 2},
            (
                "`hbo.weights` names the dataset `zzz`, but the datasets are `a`, `chat`; "
                "correct it, or name the datasets in `hbo.names`."
            ),
        ),
        ({"a": 1}, "`hbo.weights` has no number for `chat`, but it needs one for each dataset; add it."),
        ({"a": 1, "chat": "much"}, "`hbo.weights.chat: much` was given, but it must be a valid number; change it."),
        ({"a": 1, "chat": 0}, "`hbo.weights.chat: 0` was given, but it must be greater than 0; change it."),
    ],
)
def test_given_weights_that_do_not_fit_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match="weights") as error:
        make("given", np.array([[3], [4]]), names=("a", "chat"), weights=weights)
    assert str(error.value) == message


# Replay

CELLS = np.array([[5, 5], [7, 0]])


def record(step: int, event: str, *weights: float) -> dict[str, Any]:
    """A line of the trace of a run on `CELLS`."""
    a, b, c = weights
    return {"step": step, "event": event, "weights": {"d0": [a, b], "d1": [c, 0.0]}}


RUN = [
    record(0, "start", 0.25, 0.25, 0.5),
    {"step": 5, "event": "evaluate", "held_out": {"d0": 1.0}, "tied": {}},
    record(10, "update", 0.5, 0.25, 0.25),
    record(20, "update", 0.1, 0.2, 0.7),
    record(50, "end", 0.1, 0.2, 0.7),
]


def test_replay_weighs_each_weight_by_the_steps_it_was_in_force(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "hbo_trace.jsonl", *RUN)
    method = make("replay", CELLS, names=names(CELLS), trace=str(trace))
    d0 = [(10 * 0.25 + 10 * 0.5 + 30 * 0.1) / 50, (10 * 0.25 + 10 * 0.25 + 30 * 0.2) / 50]
    np.testing.assert_allclose(method.weights(), [d0, [(10 * 0.5 + 10 * 0.25 + 30 * 0.7) / 50, 0]], rtol=1e-12)
    assert method.signals == ()


def test_replay_goes_on_with_the_weights_of_its_checkpoint(tmp_path: Path) -> None:
    first = make("replay", CELLS, names=names(CELLS), trace=write_trace(tmp_path / "a", *RUN))
    later = make("replay", CELLS, names=names(CELLS), trace=write_trace(tmp_path / "b", RUN[0], RUN[-1]))
    assert not np.array_equal(later.weights(), first.weights())
    later.load_state_dict(json.loads(json.dumps(first.state_dict())))
    np.testing.assert_array_equal(later.weights(), first.weights())


OTHER = "give the trace of a run with the same data and levels."


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (RUN[:-1], "`hbo.trace: {}` was given, but that run has not ended; give the trace of a run that has."),
        ([RUN[-1]], "`hbo.trace: {}` was given, but that run has not ended; give the trace of a run that has."),
        (
            [],
            "`{}` holds no step yet; a run with `hbo:` writes it from the start of its training: choose such a run.",
        ),
        (
            [{"step": 0, "event": "start", "weights": {"d0": [0.5, 0.5]}}, {"step": 9, "event": "end"}],
            "`hbo.trace: {}` was given, whose datasets and levels are `{{'d0': 2}}`, but here they are `{{'d0': 2, 'd1': 2}}`; "
            + OTHER,
        ),
        (
            [
                {"step": 0, "event": "start", "weights": {"d0": [0.5, 0.25], "d1": [0.125, 0.125]}},
                {"step": 9, "event": "end"},
            ],
            "`hbo.trace: {}` was given, where level 1 of dataset `d1` has the weight `0.125`, but here it has 0 rows; "
            + OTHER,
        ),
    ],
)
def test_a_trace_that_does_not_fit_is_refused(tmp_path: Path, records: list[Any], message: str) -> None:
    trace = write_trace(tmp_path / "trace", *records)
    with pytest.raises(ValueError, match="trace") as error:
        make("replay", CELLS, names=names(CELLS), trace=trace)
    assert str(error.value) == message.format(trace)


def test_a_trace_whose_weights_are_shares_of_something_else_is_refused(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "trace", *({**line, "unit": "token"} for line in RUN))
    with pytest.raises(ValueError, match="unit") as error:
        make("replay", CELLS, names=names(CELLS), trace=trace)
    assert str(error.value) == (
        f"`hbo.trace: {trace}` was given, whose weights are shares of tokens, but here they are shares of rows; "
        "set `hbo.unit: token`."
    )
    make("replay", CELLS, names=names(CELLS), trace=trace, unit="token")


def test_a_trace_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="trace") as error:
        make("replay", CELLS, names=names(CELLS))
    assert str(error.value) == "`hbo.trace` is missing, but it has no default; add it."
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match="does not exist") as error:
        make("replay", CELLS, names=names(CELLS), trace=missing)
    assert str(error.value) == (
        f"`{missing}` does not exist; a run with `hbo:` writes it from the start of its training: choose such a run."
    )
    with pytest.raises(ValueError, match="trace") as error:
        make("replay", CELLS, names=names(CELLS), trace=tmp_path)
    assert str(error.value) == (
        f"`hbo.trace: {tmp_path}` was given, but it cannot be read ([Errno 21] Is a directory: '{tmp_path}'); "
        "give the `hbo_trace.jsonl` of an earlier run."
    )
