"""The target of a run: which held-out sets count, what steers and what judges, and the prior that puts it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import history, lines, load, read_trace, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data.held_out import halves, mean_loss, target_shares
from hbo_plugin.training.target_first import target_first

SETS = ["exam", "chat"]


@pytest.mark.parametrize(
    ("target", "shares"),
    [
        (None, {"exam": 0.5, "chat": 0.5}),
        (["chat"], {"chat": 1.0}),
        ({"exam": 3, "chat": 1}, {"exam": 0.75, "chat": 0.25}),
    ],
)
def test_shares_of_the_target(target: Any, shares: dict[str, float]) -> None:
    assert target_shares(target, SETS) == shares


def test_targets_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="target") as error:
        target_shares({"exams": 1}, SETS)
    assert str(error.value) == (
        "`hbo.target: exams` names a held-out set that does not exist; did you mean `exam`? There are `exam`, `chat`."
    )
    with pytest.raises(ValueError, match="target") as error:
        target_shares(None, ["exam", "target"])
    assert str(error.value) == (
        "a held-out set is called `target`, the name under which evaluations report what counts; give it another."
    )
    with pytest.raises(ValueError, match="target") as error:
        halves(np.array([4]), "exam")
    assert str(error.value) == (
        "held-out set `exam` has 1 row, but half of a set that steers the run must be kept to judge it; "
        "give it more rows, or leave it out of `hbo.target`."
    )


@given(st.integers(2, 300))
def test_each_row_steers_or_judges(count: int) -> None:
    rows = np.arange(count) + 7
    judging, steering = halves(rows, "exam")
    assert sorted([*judging, *steering]) == rows.tolist()
    assert len(judging) - len(steering) in {0, 1}
    assert (np.diff(judging) > 0).all()
    np.testing.assert_array_equal(halves(rows, "another name")[0], judging)


def test_the_loss_of_the_target_leaves_out_what_has_none() -> None:
    losses = {"exam": 2.0, "chat": 4.0, "other": 9.0}
    assert mean_loss(losses, {"exam": 0.75, "chat": 0.25}) == 2.5
    assert mean_loss({**losses, "chat": float("nan")}, {"exam": 0.75, "chat": 0.25}) == 2.0
    assert np.isnan(mean_loss({"exam": float("nan")}, {"exam": 1.0}))


SIZES = np.array([[8, 0], [30, 34], [100, 100], [5, 5]])
NAMES = ("tiny", "small", "large", "other")


def first(counted: list[str], *, steps: int, packed: bool = False, **block: Any) -> list[float]:
    lengths = np.repeat([10, 20, 40, 5], SIZES.sum(axis=1)).astype(np.int32)
    cells = Cells(NAMES, SIZES, lengths, lengths // 5, NAMES)
    config = HBOConfig.model_validate(block)
    capacity = 100 if packed else 10
    prior = target_first(cells, config, counted, steps=steps, capacity=capacity, packed=packed)
    assert list(prior) == [*NAMES]
    return [*prior.values()]


def test_target_first_where_nothing_is_bound() -> None:
    """A short run: what counts fills it by temperature, and the others have next to nothing."""
    assert first(["tiny", "small"], steps=1) == pytest.approx([1 / 3, 2 / 3, 0, 0], abs=2e-6)


def test_target_first_where_one_is_bound() -> None:
    """120 draws: 8 rows in 4 epochs give 32 of them at most, 40 were wanted, and the other takes what is left."""
    assert first(["tiny", "small"], steps=12) == pytest.approx([32 / 120, 88 / 120, 0, 0], abs=2e-6)


def test_target_first_where_all_are_bound() -> None:
    """1,000 draws: 32 and 256 at 4 epochs, and the rest evenly."""
    rest = (1000 - 32 - 256) / 2000
    assert first(["tiny", "small"], steps=100) == pytest.approx([0.032, 0.256, rest, rest])
    bound = first(["tiny"], steps=100, max_epochs={"tiny": 10})
    assert bound == pytest.approx([0.08, *[0.92 / 3] * 3])


def test_target_first_when_the_whole_mixture_is_repeated_more_often() -> None:
    """2,820 draws of 282 rows are 10 epochs, so that a dataset may have as many."""
    assert first(["tiny"], steps=282)[0] == pytest.approx(80 / 2820)


@pytest.mark.parametrize("unit", ["row", "token", "trained_token"])
@pytest.mark.parametrize("packed", [False, True])
def test_target_first_counts_repeats_in_every_unit(unit: str, packed: bool) -> None:  # noqa: FBT001 a case
    weights = np.array(first(["tiny", "other"], steps=100, packed=packed, unit=unit))
    tokens = np.array([10, 20, 40, 5])
    of_unit = {"row": np.ones(4), "token": tokens, "trained_token": tokens // 5}[unit]
    rows = weights / of_unit
    rows *= (100 * 100 / (rows @ tokens)) if packed else (1000 / rows.sum())
    assert (rows / SIZES.sum(axis=1))[[0, 3]] == pytest.approx([4, 4])
    assert weights[1] == pytest.approx(weights[2])


@pytest.mark.axolotl
def test_the_target_judges_on_rows_that_steer_nothing(make_config: Any, tmp_path: Any) -> None:
    from hbo_plugin.data.load import load as load_data

    def loaded(block: dict[str, Any], **keys: Any) -> Any:
        cfg = load(make_config(hbo={"levels": 1, **block}, val_set_size=0.2), tmp_path)
        return load_data(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()), **keys)

    whole = loaded({})
    assert whole.judging.sets == {"sums": range(16), "words": range(16, 24), "tales": range(24, 27)}
    assert whole.steering.sets == {}
    some = loaded({"target": ["words", "tales"]})
    assert {name: len(rows) for name, rows in some.judging.sets.items()} == {"sums": 16, "words": 4, "tales": 2}
    assert some.steering.sets == {"words": range(4), "tales": range(4, 5)}
    assert some.target == {"words": 0.5, "tales": 0.5}
    steered = loaded({"target": ["words", "tales"]}, steers=True)
    assert {name: len(rows) for name, rows in steered.steering.sets.items()} == {"sums": 8, "words": 4, "tales": 1}

    def texts(part: Any, name: str) -> set[tuple[int, ...]]:
        return {tuple(part.rows[index]["input_ids"]) for index in part.sets[name]}

    for name in ("words", "tales"):
        assert texts(some.judging, name) | texts(some.steering, name) == texts(whole.judging, name)
        assert texts(steered.judging, name) == texts(some.judging, name)
        assert not texts(some.judging, name) & texts(some.steering, name)


@pytest.mark.axolotl
def test_a_run_with_a_target_starts_with_it_and_reports_it(
    make_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """12 steps of 4 rows; of the 16 tales, 3 are held out: 13 in 4 epochs would fill them."""
    config = make_config(
        hbo={"method": "static", "target": {"tales": 2, "words": 1}, "max_epochs": 1},
        val_set_size=0.2,
        eval_steps=6,
    )
    folder = train(config)
    trace = read_trace(folder)
    rows = {name: sum(counts) for name, counts in trace[-1]["rows_trained"].items()}
    assert sum(rows.values()) == 48
    # The stream has whole rows: a cap of 32 and 13 of them may leave a few to the others.
    assert 29 <= rows["words"] <= 32
    assert 12 <= rows["tales"] <= 13
    last = [record for record in lines(folder / "hbo_trace.jsonl") if record.get("event") == "evaluate"][-1]
    losses = last["held_out"]
    assert last["target"] == pytest.approx((2 * losses["tales"] + losses["words"]) / 3)
    assert history(folder, "eval_target_loss")[12] == pytest.approx(last["target"])
    shown = capsys.readouterr().out
    assert "the prior is target first: `words`, `tales` up to `max_epochs`" in " ".join(shown.split())
    assert "Held-out loss of the target:" in shown


@pytest.mark.axolotl
def test_steering_rows_can_be_recorded_and_that_changes_nothing(make_config: Any) -> None:
    """Each half of a set, and between them the loss of the whole, which another run judges by."""
    keys = {"val_set_size": 0.3, "eval_steps": 6, "learning_rate": 1e-3}
    target = {"method": "static", "prior": "uniform", "target": ["words"], "update_every": 6}
    recorded = make_config(hbo={**target, "record_steering": True}, **keys)
    found = [each for each in read_trace(train(recorded)) if each["event"] == "evaluate"]
    losses = history(Path(recorded["output_dir"]), "loss")
    plain = make_config(hbo=target, **keys)
    assert all(not each["steering"] for each in read_trace(train(plain)) if each["event"] == "evaluate")
    assert history(Path(plain["output_dir"]), "loss") == losses
    whole = make_config(hbo={key: value for key, value in target.items() if key != "target"}, **keys)
    judged = [each for each in read_trace(train(whole)) if each["event"] == "evaluate"]
    assert len(found) == len(judged) > 1
    for half, both in zip(found, judged, strict=True):
        assert {*half["steering"]} == {*both["held_out"]} > {"words"}
        for name, of_all in both["held_out"].items():
            low, high = sorted((half["steering"][name], half["held_out"][name]))
            assert low < of_all < high
