"""The method of branches: which dataset a set of the target names, what it is given, and what branches may cost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from hbo_plugin.methods import RunFacts, make_method
from hbo_plugin.methods.base import BranchPlan
from hbo_plugin.methods.branches import Branches, BranchesSettings

NAMES = ("exam", "helper", "a", "b", "c", "d")
ERROR = 0.01


def method(target: dict[str, float] | None = None, **settings: Any) -> Branches:
    """The method on one dataset that counts and five that do not, of which each has 10% of the prior."""
    run = RunFacts(names=NAMES, target=target or {"exam": 1.0}, counted=frozenset({"exam"}))
    prior = dict(zip(NAMES, [5.0, 1.0, 1.0, 1.0, 1.0, 1.0], strict=True))
    made = make_method("branches", np.full((6, 2), 10), BranchesSettings(prior=prior, **settings), run)
    assert isinstance(made, Branches)
    return made


def signals(*effects: list[float], error: float = ERROR) -> dict[str, np.ndarray]:
    """Of the five datasets that do not count, a list for each set of the target."""
    found = np.array([[np.nan, *of_set] for of_set in effects]).T
    return {"branch_effect": found, "branch_error": np.where(np.isnan(found), np.nan, error)}


def tilted(effects: list[float], error: float = ERROR) -> np.ndarray:
    """How a set that names nothing gives its share away."""
    odds = np.exp(-np.array(effects) / np.sqrt(np.var(effects, ddof=1) + error**2))
    return np.asarray(odds / odds.sum())


def datasets(made: Branches) -> list[float]:
    return [*made.weights().sum(axis=1).round(12)]


def test_the_rest_goes_to_a_dataset_that_stands_apart() -> None:
    made = method(even=0.2)
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    made.update(signals([-0.2, 0.05, 0.07, 0.03, 0.06]))
    assert made.named() == [1]
    assert datasets(made) == [0.5, 0.42, 0.02, 0.02, 0.02, 0.02]


@pytest.mark.parametrize(
    "effects",
    [
        [-0.02, -0.01, 0.02, 0.01, 0.0],  # within their spread
        [0.01, 0.30, 0.31, 0.29, 0.30],  # apart, but higher than where all get some
        [-0.5, -0.4, 0.3, 0.2, 0.1],
    ],
)
def test_what_does_not_stand_apart_only_tilts_the_rest(effects: list[float]) -> None:
    made = method(even=0.0)
    made.update(signals(effects))
    assert made.named() == [None]
    assert datasets(made) == pytest.approx([0.5, *0.5 * tilted(effects)])


def test_without_a_measurement_nothing_changes() -> None:
    made = method()
    made.update(signals([np.nan] * 5))
    assert made.named() == [None]
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]


def test_rows_too_noisy_to_tell_name_nothing() -> None:
    made = method()
    made.update(signals([-0.2, 0.05, 0.07, 0.03, 0.06], error=0.2))
    assert made.named() == [None]


def test_each_set_of_the_target_gives_away_its_own_share() -> None:
    made = method({"exam": 0.75, "chat": 0.25}, even=0.0)
    other = [0.0, 0.01, 0.02, -0.01, 0.01]
    made.update(signals([-0.2, 0.05, 0.07, 0.03, 0.06], other))
    assert made.named() == [1, None]
    shares = 0.75 * np.eye(5)[0] + 0.25 * tilted(other)
    assert datasets(made) == pytest.approx([0.5, *0.5 * shares])


def test_a_second_look_adds_to_the_first() -> None:
    """Twice the same small effect of noise that differs tells more than once; the spread among the others shrinks."""
    noise = np.array([0.03, -0.03, 0.03, -0.03])
    made = method()
    made.update(signals([-0.06, *noise]))
    assert made.named() == [None]
    made.update(signals([-0.06, *-noise]))
    assert made.named() == [1]


@pytest.mark.parametrize("measured", [3, 4, 5])
def test_under_chance_alone_a_set_seldom_names_a_dataset(measured: int) -> None:
    rng = np.random.default_rng(0)
    named = []
    for _ in range(2000):
        made = method()
        effects = np.append(rng.normal(0, 0.05, measured), np.full(5 - measured, np.nan))
        made.update(signals([*effects], error=0.0))
        named.append(made.named() != [None])
    assert np.mean(named) < 0.1 + 2 * np.sqrt(0.1 * 0.9 / 2000)


def test_the_effects_of_a_set_stay_its_own_when_the_target_changes() -> None:
    made = method({"exam": 0.5, "chat": 0.5})
    made.update(signals([-0.2, 0.05, 0.07, 0.03, 0.06], [0.0, 0.01, 0.02, -0.01, 0.01]))
    resumed = method({"new": 0.5, "exam": 0.5})
    resumed.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert resumed.named() == [None, 1]


def test_a_set_of_a_single_row_names_nothing() -> None:
    made = method()
    made.update(signals([-0.2, 0.05, 0.07, 0.03, 0.06], error=np.nan))
    assert made.named() == [None]


@pytest.mark.parametrize(
    ("settings", "steps", "plan"),
    [
        ({}, 1000, BranchPlan((250,), 6, 40)),
        ({}, 240, BranchPlan((60,), 6, 30)),
        ({"branch_at": [0.5, 100]}, 1000, BranchPlan((100, 500), 6, 40)),
        ({"branch_budget": 0.12}, 1000, BranchPlan((250,), 6, 20)),
        ({"branch_steps": 2, "branch_budget": 0.2}, 100, BranchPlan((25,), 6, 2)),
    ],
)
def test_the_budget_shortens_branches(settings: dict[str, Any], steps: int, plan: BranchPlan) -> None:
    assert method(**settings).branches(steps) == plan


def test_branches_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="branch_budget") as error:
        method(branch_budget=0.2).branches(200)
    assert str(error.value) == (
        "`hbo.branch_budget: 0.2` leaves 6 steps for each of 6 branches in a run of 200 steps, but a branch needs 10; set it "
        "to 0.3, train for 300 steps, or mix fewer datasets."
    )
    with pytest.raises(ValueError, match="branch_at") as error:
        method(branch_at=0.95, branch_budget=2).branches(400)
    assert str(error.value) == (
        "`hbo.branch_at: 0.95` was given, but branches of 40 steps begin after the first of 400 steps and end by the "
        "last; change it."
    )
    run = RunFacts(names=("a", "b"), target={"a": 1.0}, counted=frozenset({"a"}))
    made = make_method("branches", np.array([[4], [4]]), BranchesSettings(prior={"a": 1.0, "b": 1e-6}), run)
    assert isinstance(made, Branches)
    with pytest.raises(ValueError, match="leave") as error:
        made.branches(1000)
    assert str(error.value) == (
        "`method: branches` shares out what the datasets that count leave of the run, but that is 0.0%; lower "
        "`hbo.max_epochs`, train longer, or write a `prior`."
    )
    run = RunFacts(names=("a",), target={"a": 1.0}, counted=frozenset({"a"}))
    with pytest.raises(ValueError, match="count") as error:
        make_method("branches", np.array([[4]]), BranchesSettings(), run)
    assert str(error.value) == (
        "`method: branches` looks for datasets that help those that count, but `a` all count; name in `hbo.target` what the "
        "run should be good at, or set `method: static`."
    )
