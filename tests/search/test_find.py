"""Searches over runs that are simulated: each loss follows from the mixture, and from noise that depends on the seed."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from traces import state, write

from hbo_plugin.check.look import Findings
from hbo_plugin.compare.arms import Arm
from hbo_plugin.compare.runs import Launch, PlannedRun
from hbo_plugin.compare.study import Study
from hbo_plugin.report.terminal import show
from hbo_plugin.search import terminal
from hbo_plugin.search.find import Found, find
from hbo_plugin.search.trials import best, is_behind, tried

FIRST = {"exam": 0.2, "essay": 0.1}
"""The weights of the datasets that count."""


class World:
    """What training would come to."""

    def __init__(self, others: int, helpers: dict[str, str], noise: float, *, fails: str = "") -> None:
        self.names = [f"d{index}" for index in range(others)]
        self.helpers, self.noise, self.fails = helpers, noise, fails
        self.trained: list[str] = []

    def look(self, config: Path, ranks: int) -> Findings:
        counted = [SimpleNamespace(name=name, counted=True, asked=(share,)) for name, share in FIRST.items()]
        others = [SimpleNamespace(name=name, counted=False, asked=(0.1,)) for name in self.names]
        plan: Any = SimpleNamespace(
            datasets=[*counted, *others], steps=240, target={"exam": 0.5, "essay": 0.5}, judges={}
        )
        return Findings((), (), (), plan)

    def train(self, run: PlannedRun, config: Path) -> bool:
        self.trained.append(f"{run.folder.parent.name}/{run.name}")
        if self.fails and self.fails in run.name:
            (run.folder / "log.txt").write_text("it failed")
            return False
        keys = yaml.safe_load(config.read_text())
        prior = keys["hbo"]["prior"]
        rng = np.random.default_rng([keys["seed"], *run.name.encode()])
        steps = keys.get("max_steps", 240)

        def evaluated(step: int) -> dict[str, Any]:
            losses, steering = (
                {
                    name: 2 - 0.5 * prior.get(self.helpers.get(name, ""), 0.0) ** 0.5 + rng.normal(0, self.noise)
                    for name in (*FIRST, *more)
                }
                for more in (("outside",), ())
            )
            target = (losses["exam"] + losses["essay"]) / 2
            found = {"held_out": losses, "tied": {}, "target": target, "steering": steering}
            return {"step": step, "event": "evaluate", **found}

        if keys["hbo"]["record_steering"] and steps in {30, 240}:
            evaluations = [evaluated(step) for step in range(keys.get("eval_steps", steps), steps + 1, steps // 2)]
            even = {"exam": [1.0]}
            write(run.folder, state(0, "start", even), *evaluations, state(steps, "end", even))
        return True


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[..., World]:
    def made(*args: Any, **keys: Any) -> World:
        found = World(*args, **keys)
        monkeypatch.setattr("hbo_plugin.check.look.look", found.look)
        monkeypatch.setattr(Launch, "train", lambda _, run, config, __: found.train(run, config))
        return found

    return made


def searched(folder: Path, seed: int = 0, **options: Any) -> Found:
    folder.mkdir(exist_ok=True)
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump({"seed": seed, "hbo": {"target": [*FIRST], "update_every": 16}}))
    study = Study(
        config,
        (),
        out=None,
        base_model=None,
        jobs=1,
        lists=False,
        only=None,
        launcher="python",
        ranks=1,
        keep_models=False,
        environment={},
    )
    options = {"seeds": 5, "trial_seeds": 1, "shorter": 8, "floor": 0.0, "budget": None} | options
    found = find(study, **options)
    assert found is not None
    return found


def test_the_helpers_of_both_targets_are_found_confirmed_and_given_the_rest(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = world(6, {"exam": "d2", "essay": "d4"}, 0.01)
    found = searched(tmp_path)
    assert {name: trial.name for name, trial in found.trials.nominated.items()} == {
        "exam": "rest to d2",
        "essay": "rest to d4",
    }
    assert found.chosen == "rest to d2 and d4"
    assert found.prior == pytest.approx(FIRST | dict.fromkeys(made.names, 0.0) | {"d2": 0.35, "d4": 0.35})
    assert found.confirmed is not None
    assert [arm.arm for arm in found.confirmed.arms] == [
        *("rest even", "rest to d2", "rest to d4", "rest to d2 and d4")
    ]
    # A seventh trial is the baseline; the seeds that confirm chose nothing.
    assert len([name for name in made.trained if name.startswith("trials/")]) == 7
    assert {name.rpartition(".")[2] for name in made.trained if name.startswith("trials/")} == {"0"}
    assert {name.rpartition(".")[2] for name in made.trained if name.startswith("confirm/")} == {*"12345"}
    trial = yaml.safe_load((tmp_path / "search/trials/rest-even.0/config.yml").read_text())
    assert (trial["max_steps"], trial["eval_steps"], trial["hbo"]["update_every"]) == (30, 15, 2)
    show(terminal.search(found))
    told = capsys.readouterr().out
    assert "Best for exam: rest to d2." in told
    for name, arm in (("exam", found.confirmed.arms[1]), ("essay", found.confirmed.arms[2])):
        moved = arm.sets[name]
        said = f"In full runs, {arm.arm} moved the loss of {name} by {moved.mean:+.3f} [{moved.low:+.3f}, {moved.high:+.3f}]."
        assert said in " ".join(told.split())
        assert moved.high is not None
        assert moved.high < 0
    # Noise of the baseline decides which of those that help nothing are behind for both sets.
    given_up = {trial.name for trial in found.trials.trials if trial.given_up}
    assert given_up.isdisjoint({"rest to d2", "rest to d4"})
    assert all((f"{trial.name}, at half" in told) == trial.given_up for trial in found.trials.trials)
    assert yaml.safe_load(told[told.index("hbo:") :])["hbo"]["weights"]["d2"] == pytest.approx(0.35)


def test_a_search_that_is_called_again_trains_nothing_and_says_the_same(world: Any, tmp_path: Path) -> None:
    made = world(3, {"exam": "d1", "essay": "d1"}, 0.01)
    found = searched(tmp_path)
    count = len(made.trained)
    assert searched(tmp_path) == found
    assert len(made.trained) == count
    assert found.chosen == "rest to d1"


def test_among_many_datasets_groups_come_first(world: Any, tmp_path: Path) -> None:
    made = world(40, {"exam": "d17", "essay": "d33"}, 0.001)
    found = searched(tmp_path)
    assert found.chosen == "rest to d17 and d33"
    # Eight groups, then five datasets in each of two, and the baseline.
    assert len([name for name in made.trained if name.startswith("trials/")]) == 8 + 10 + 1


def test_where_nothing_helps_few_searches_say_otherwise(world: Any, tmp_path: Path) -> None:
    """One of a hundred would differ so much by chance, and half of these be worse; a comparison asks for less."""
    found = []
    for number in range(150):
        world(4, {}, 0.05)
        found.append(searched(tmp_path / str(number), seed=100 * number, seeds=3))
    named, compared = sum(each.chosen is not None for each in found), sum(bool(each.better) for each in found)
    for count, chance in ((named, 0.005), (compared, 0.025)):
        assert count / 150 <= chance + 3 * (chance * (1 - chance) / 150) ** 0.5


def test_what_a_comparison_would_call_better_is_not_named_but_told(
    world: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world(3, {"exam": "d1", "essay": "d1"}, 0.12)
    found = searched(tmp_path)
    assert [0.01 < (arm.p or 0) <= 0.05 for arm in found.better] == [True]
    assert (found.chosen, found.prior) == (None, None)
    show(terminal.search(found))
    told = " ".join(capsys.readouterr().out.split())
    assert "rest to d1 may be better than rest even" in told
    assert "weights:" not in told
    sure = searched(tmp_path, seeds=12)
    assert sure.chosen == "rest to d1"


def test_a_trial_that_fails_is_named_and_left_out(world: Any, tmp_path: Path) -> None:
    world(3, {"exam": "d1", "essay": "d1"}, 0.01, fails="d2")
    found = searched(tmp_path)
    assert found.trials.failed == ("rest-to-d2.0",)
    assert found.chosen == "rest to d1"
    world(3, {}, 0.01, fails="even")
    with pytest.raises(ValueError, match="no trial of `rest even` ended"):
        searched(tmp_path / "b")


def test_a_floor_keeps_something_for_all(world: Any, tmp_path: Path) -> None:
    world(4, {"exam": "d1", "essay": "d1"}, 0.001)
    found = searched(tmp_path, floor=0.2)
    assert found.prior == pytest.approx(FIRST | dict.fromkeys(("d0", "d2", "d3"), 0.035) | {"d1": 0.595})


def test_what_a_search_may_cost_is_bounded(world: Any, tmp_path: Path) -> None:
    made = world(4, {}, 0.01)
    with pytest.raises(ValueError, match="the search takes 15 to 25 runs"):
        searched(tmp_path, budget=20)
    with pytest.raises(ValueError, match="the run has 240 steps"):
        searched(tmp_path, shorter=500)
    assert made.trained == []


def test_a_trial_is_given_up_where_each_set_is_worse_at_half_of_its_steps(tmp_path: Path) -> None:
    def evaluation(step: int, exam: float, essay: float) -> dict[str, Any]:
        steering = {"exam": exam, "essay": essay}
        losses = steering | {"other": exam}
        return {
            "step": step, "event": "evaluate", "held_out": losses, "tied": {}, "target": exam, "steering": steering,
        }  # fmt: skip

    courses = {
        "even": [(4, 2.0, 2.0), (8, 1.0, 1.0)],
        "ahead for one": [(4, 3.0, 1.9), (8, 2.0, 1.1)],
        "behind": [(4, 2.1, 2.2), (8, 0.1, 0.1)],
        "behind and ended": [(4, 2.1, 2.2)],
        "not yet there": [(2, 9.0, 9.0)],
        "no number": [(4, float("nan"), 2.2)],
    }
    runs = [PlannedRun(Arm(name, {}), 0, tmp_path / name, None) for name in courses]
    for run in runs:
        evaluations = [evaluation(*each) for each in courses[run.arm.name]]
        write(run.folder, state(0, "start", {"exam": [1.0]}), *evaluations)
    behind = {name: is_behind(name, runs, "even", dict.fromkeys(FIRST, 0.5), 8) for name in courses}
    assert [name for name, is_it in behind.items() if is_it] == ["behind", "behind and ended"]
    trials, missing = tried(runs, "even", dict.fromkeys(FIRST, 0.5), 8)
    assert missing == ("not yet there", "no number")
    assert [(trial.name, trial.given_up) for trial in trials] == [
        ("ahead for one", False), ("behind", True), ("behind and ended", True),
    ]  # fmt: skip
    assert [trial.sets["essay"].mean for trial in trials] == pytest.approx([0.1, 0.2, 0.2])
    assert [trial.outside for trial in trials] == pytest.approx([1.0, 0.1, 0.1])
    # However far it came later.
    assert {name: trial.name for name, trial in best(trials, dict.fromkeys(FIRST, 0.5)).items()} == {}
