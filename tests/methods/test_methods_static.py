"""The methods whose weights never change, against their formulas; and the replay of a run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from method_cases import FORMS, ROWS, build, column, make, names, write_trace

from hbo_plugin.messages import yaml_text
from hbo_plugin.methods.base import FollowsTime

if TYPE_CHECKING:
    from pathlib import Path

    from hbo_plugin.methods import Method

ABC = ("a", "b", "c")
CUBES = np.array([[8, 0], [13, 14], [64, 61]])


@pytest.mark.parametrize(
    ("method", "datasets"),
    [
        (make("static", ROWS, prior="proportional"), [76 / 985, 901 / 985, 8 / 985]),
        (make("static", ROWS, prior=1), [76 / 985, 901 / 985, 8 / 985]),
        (make("static", ROWS, prior="uniform"), [1 / 3, 1 / 3, 1 / 3]),
        (make("static", ROWS, prior=float("inf")), [1 / 3, 1 / 3, 1 / 3]),
        (make("static", CUBES), [0.2, 0.3, 0.5]),
        (make("static", ROWS, names=ABC, prior={"c": 6, "a": 2, "b": 4.0}), [1 / 6, 1 / 3, 1 / 2]),
        (make("static", ROWS, names=ABC, weights={"c": 6, "a": 2, "b": 4.0}), [1 / 6, 1 / 3, 1 / 2]),
        (make("static", ROWS[:2], names=ABC[:2], weights={"a": 1.5e308, "b": 0.5e308}), [0.75, 0.25]),
    ],
)
def test_static_weights_of_datasets(method: Method, datasets: list[float]) -> None:
    np.testing.assert_allclose(method.weights().sum(axis=1), datasets, rtol=1e-12)


def test_static_levels_follow_their_rows_and_updates_change_nothing() -> None:
    method = build("static", ROWS)
    before = method.weights()
    shares = before / before.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, ROWS / ROWS.sum(axis=1, keepdims=True), rtol=1e-12)
    assert method.signals == ()
    method.update({})
    method.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(method.weights(), before)


@pytest.mark.parametrize("name", sorted({form.split()[0] for form in FORMS} - {"static", "replay", "mos_plus"}))
def test_every_method_starts_at_the_prior_that_is_given(name: str) -> None:
    given = {"d0": 1, "d1": 2, "d2": 5}
    for prior, expected in ((given, [0.125, 0.25, 0.625]), ("proportional", [76 / 985, 901 / 985, 8 / 985])):
        start = build(name, ROWS, prior=prior).weights()
        floor = 0.3 if name == "dynamix" else 0.0  # the only one whose floor acts before it was measured
        np.testing.assert_allclose(start.sum(axis=1), (1 - floor) * np.array(expected) + floor / 3, rtol=1e-9)


def test_a_prior_of_cells_counts_cells_unless_it_is_given_by_dataset() -> None:
    live = ROWS > 0
    np.testing.assert_allclose(build("mos_plus", ROWS, prior="uniform").weights(), live / live.sum(), rtol=1e-9)
    given = build("mos_plus", ROWS, prior={"d0": 1, "d1": 2, "d2": 5}).weights()
    expected = ROWS / ROWS.sum(axis=1, keepdims=True) * np.array([[0.125], [0.25], [0.625]])
    np.testing.assert_allclose(given, expected, rtol=1e-9)


PHASES: list[dict[str, float]] = [{"until": 0.25, "a": 3, "b": 1}, {"until": 80, "a": 0, "b": 5}, {"a": 1, "b": 1}]


def test_phases_follow_each_other_at_their_steps() -> None:
    method = make("static", column(3, 4), names=("a", "b"), weights=PHASES)
    assert isinstance(method, FollowsTime)
    seen = []
    for step in (0, 24, 25, 79, 80, 99):
        ends = method.advance(step, 100)
        seen.append((step, ends, method.weights()[0, 0]))
    assert seen == [(0, 25, 0.75), (24, 25, 0.75), (25, 80, 0.0), (79, 80, 0.0), (80, 100, 0.5), (99, 100, 0.5)]


def test_a_phase_is_resumed() -> None:
    method, resumed = (make("static", column(3, 4), names=("a", "b"), weights=PHASES) for _ in range(2))
    method.advance(30, 100)  # type: ignore[attr-defined]
    resumed.load_state_dict(json.loads(json.dumps(method.state_dict())))
    np.testing.assert_array_equal(resumed.weights(), method.weights())
    fewer = make("static", column(3, 4), names=("a", "b"), weights={"a": 1, "b": 3})
    fewer.load_state_dict({"phase": [2]})
    assert fewer.weights()[0, 0] == 0.25


@pytest.mark.parametrize(
    ("steps", "until", "message"),
    [
        (
            70,
            80,
            "has a phase `until: 80.0`, but in a run of 70 steps the phases end at `[18, 80, 70]`, so that number 3",
        ),
        (
            100,
            10,
            "has a phase `until: 10.0`, but in a run of 100 steps the phases end at `[25, 10, 100]`, so that number 2",
        ),
        (1, 0.9, "has a phase `until: 0.25`, but in a run of 1 steps the phases end at `[0, 1, 1]`, so that number 1"),
    ],
)
def test_a_phase_without_a_step_is_refused(steps: int, until: float, message: str) -> None:
    phases = [PHASES[0], {**PHASES[1], "until": until}, PHASES[2]]
    method = make("static", column(3, 4), names=("a", "b"), weights=phases)
    with pytest.raises(ValueError, match="until") as error:
        method.advance(0, steps)  # type: ignore[attr-defined]
    assert str(error.value) == f"`hbo.weights` {message} has no step; change `until`."


@pytest.mark.parametrize("phases", [[], [{}], [PHASES[0]], PHASES[:2], [PHASES[2], PHASES[2]]])
def test_phases_that_cannot_follow_each_other_are_refused(phases: Any) -> None:
    with pytest.raises(ValueError, match="weights") as error:
        make("static", column(3, 4), names=("a", "b"), weights=phases)
    given = yaml_text([{key: float(value) for key, value in phase.items()} for phase in phases])
    assert str(error.value) == (
        f"`hbo.weights: {given}` was given, but each phase needs the weights of its datasets, and each but the last "
        "needs `until`, where it ends; add or remove it."
    )


@pytest.mark.parametrize("key", ["weights", "prior"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"a": 1, "caht": 2},
            "`hbo.{key}` names the dataset `caht`, but the datasets are `a`, `chat`; did you mean `chat`?",
        ),
        (
            {"a": 1, "zzz": 2},
            (
                "`hbo.{key}` names the dataset `zzz`, but the datasets are `a`, `chat`; "
                "correct it, or name the datasets in `hbo.names`."
            ),
        ),
        (
            {"a": 1},
            (
                "`hbo.{key}` has no number for `chat`, but it needs one for each of `a`, `chat`; add it, or 0 to leave a "
                "dataset out."
            ),
        ),
    ],
)
def test_shares_that_do_not_fit_are_refused(key: str, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=key) as error:
        make("static", np.array([[3], [4]]), names=("a", "chat"), **{key: given})
    assert str(error.value) == message.format(key=key)


@pytest.mark.parametrize("key", ["weights", "prior"])
@pytest.mark.parametrize(
    "given", [[1, 2], {"a": 1, "chat": "much"}, {"a": 1, "chat": -1}, {"a": 1, "chat": float("inf")}]
)
def test_shares_that_are_no_numbers_are_refused(key: str, given: Any) -> None:
    with pytest.raises(ValueError, match=f"`hbo.{key}") as error:
        make("static", np.array([[3], [4]]), names=("a", "chat"), **{key: given})
    assert "was given, but" in str(error.value)


# Replay

CELLS = np.array([[5, 5], [7, 0]])


def record(step: int, event: str, *weights: float) -> dict[str, Any]:
    """A line of the trace of a run on `CELLS`."""
    a, b, c = weights
    return {"step": step, "event": event, "weights": {"d0": [a, b], "d1": [c, 0.0]}}


RUN = [
    record(0, "start", 0.25, 0.25, 0.5),
    {"step": 5, "event": "evaluate", "held_out": {"d0": 1.0}, "tied": {}, "target": 1.0},
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
