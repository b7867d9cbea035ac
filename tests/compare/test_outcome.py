"""What a comparison comes to, from the traces of runs that nobody trained."""

import math
from pathlib import Path

import pytest
from traces import evaluation, state, write

from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.intervals import Intervals
from hbo_plugin.compare.outcome import Comparison, compared
from hbo_plugin.compare.runs import planned
from hbo_plugin.compare.terminal import comparison
from hbo_plugin.report.terminal import show

EVEN = {"sums": [0.5], "words": [0.5]}


def run(folder: Path, steps: int = 10, **losses: float) -> None:
    """A run that was evaluated at its start, with a loss of 4, in its middle, with 3, and at its end."""
    start = evaluation(0, None, **dict.fromkeys(losses, 4.0))
    middle = evaluation(steps // 2, None, **dict.fromkeys(losses, 3.0))
    write(folder, state(0, "start", EVEN), start, middle, evaluation(steps, None, **losses), state(steps, "end", EVEN))


def of(out: Path, seeds: int, *, controls: bool = False) -> Comparison:
    arms = find_arms({}, ["hbo", "odm"], {}, "static", controls=controls)
    return compared(planned(arms, range(seeds), out), "static")


def test_differences_are_those_of_runs_with_one_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, base in enumerate((2.0, 2.5, 1.5, 2.2)):
        run(tmp_path / f"static.{seed}", sums=base, words=base)
        run(tmp_path / f"hbo.{seed}", sums=base - 0.2 - 0.001 * seed, words=base)
        run(tmp_path / f"odm.{seed}", sums=base + 0.1 * (-1) ** seed, words=base)
    found = of(tmp_path, 4)
    static, hbo, odm = found.arms
    assert (static.difference, static.verdict) == (None, None)
    assert hbo.difference is not None
    assert hbo.difference.mean == pytest.approx(-0.1 - 0.0015 / 2)
    assert hbo.sets["sums"].mean == pytest.approx(-0.2015)
    assert hbo.sets["words"].mean == 0
    assert (hbo.verdict, odm.verdict) == ("better", "inconclusive")
    assert (found.missing, found.without_number, found.unequal_steps) == ((), (), False)
    show(comparison(found))
    told = capsys.readouterr().out
    assert "hbo: better than static." in told
    assert "odm: inconclusive." in told
    assert "-0.202" in told
    Intervals.of(found).plot(tmp_path / "found.svg")
    assert all(f"<!--  {name} -->" in (tmp_path / "found.svg").read_text() for name in ("hbo", "odm"))


def test_what_is_not_there_is_named_and_pairs_without_it_do_not_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(3):
        run(tmp_path / f"static.{seed}", sums=2.0)
        run(tmp_path / f"hbo.{seed}", sums=1.0 if seed < 2 else math.nan)
    write(tmp_path / "odm.0", state(0, "start", EVEN))
    found = of(tmp_path, 3)
    assert found.missing == ("odm.0", "odm.1", "odm.2")
    assert found.without_number == ("hbo.2",)
    assert [(each.arm, each.seeds) for each in found.arms] == [("static", 3), ("hbo", 2)]
    show(comparison(found))
    told = capsys.readouterr().out
    assert "Not finished: `odm.0`" in told
    assert "no number at the end: `hbo.2`" in told


def test_a_run_that_was_not_evaluated_at_its_end_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "static.0", state(0, "start", EVEN), evaluation(5, sums=1.0), state(10, "end", EVEN))
    with pytest.raises(ValueError, match="was not evaluated after its last step"):
        of(tmp_path, 1)


def test_runs_of_unequal_length_are_also_read_at_equal_tokens(tmp_path: Path) -> None:
    for seed in range(2):
        run(tmp_path / f"static.{seed}", steps=10, sums=2.0)
        run(tmp_path / f"hbo.{seed}", steps=20, sums=2.0)
    found = of(tmp_path, 2)
    hbo = found.arms[1]
    assert found.unequal_steps
    assert hbo.difference is not None
    assert hbo.at_equal_tokens is not None
    assert hbo.difference.mean == 0
    assert hbo.at_equal_tokens.mean == 1  # its middle, where the loss is 3, is where the other ended


def test_between_evaluations_that_are_far_apart_no_loss_is_read(tmp_path: Path) -> None:
    for seed in range(2):
        run(tmp_path / f"static.{seed}", steps=10, sums=2.0)
        run(tmp_path / f"hbo.{seed}", steps=16, sums=2.0)
    # The longer one was evaluated after 0, 8 and 16 steps, and the other ended after 10.
    assert of(tmp_path, 2).arms[1].at_equal_tokens is None


def test_the_name_of_a_held_out_set_has_room_beside_many_arms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"rest to another dataset with a long name {number}" for number in range(5)]
    arms = find_arms({}, (), {name: {"method": "static", "prior": 2} for name in names}, "static", controls=False)
    for each in planned(arms, range(3), tmp_path):
        run(each.folder, sums=2.0 + each.seed)
    show(comparison(compared(planned(arms, range(3), tmp_path), "static")))
    told = capsys.readouterr().out
    assert told.count("\nsums ") == 2
    assert max(map(len, told.splitlines())) <= 80


def test_a_control_is_compared_with_the_arm_that_it_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        run(tmp_path / f"static.{seed}", sums=2.0)
        run(tmp_path / f"hbo.{seed}", sums=1.5 + 0.01 * seed)
        run(tmp_path / f"hbo-its-average.{seed}", sums=1.5)
    found = of(tmp_path, 3, controls=True)
    hbo, control = found.arms[1:]
    assert hbo.from_control is not None
    assert hbo.from_control.mean == pytest.approx(0.01)
    assert (control.replays, control.verdict, control.p) == ("hbo", None, None)
    show(comparison(found))
    assert "hbo from its own average weights, held all run long: +0.010" in capsys.readouterr().out
