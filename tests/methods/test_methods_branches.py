"""The method of branches: what each set of the target gives to which dataset, and what branches may cost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hbo_plugin.methods import RunFacts, make_method
from hbo_plugin.methods.base import BranchPlan
from hbo_plugin.methods.branches import Branches, BranchesSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("exam", "helper", "a", "b", "c", "d")
ERROR = 0.01


def method(target: dict[str, float] | None = None, names: Sequence[str] = NAMES, **settings: Any) -> Branches:
    """The method on one dataset that counts and others, usually five, that do not, of which each has as much of the prior."""
    run = RunFacts(names=tuple(names), target=target or {"exam": 1.0}, counted=frozenset({"exam"}))
    prior = dict.fromkeys(names, 1.0) | {"exam": len(names) - 1.0}
    made = make_method("branches", np.full((len(names), 2), 10), BranchesSettings(**{"prior": prior, **settings}), run)
    assert isinstance(made, Branches)
    return made


def signals(*effects: list[float], error: float = ERROR, noise: float = ERROR) -> dict[str, np.ndarray]:
    """Of the datasets that do not count, a list for each set of the target."""
    found = np.array([[np.nan, *of_set] for of_set in effects]).T
    missing = np.isnan(found)
    return {
        "branch_effect": found,
        "branch_error": np.where(missing, np.nan, error),
        "branch_noise": np.where(missing, np.nan, noise),
    }


def shared(effects: list[float], looks: int = 1) -> np.ndarray:
    """What a set of the target gives to datasets of the same prior, by the formula, where its rows are as noisy as training."""
    noise = 2 * ERROR**2 / looks
    freedom = 2 * looks * 2**2
    gains = np.maximum(0, np.median([0, *effects]) - np.array(effects))
    odds = (1 + gains**2 / noise / freedom) ** ((freedom + 1) / 2)
    return np.asarray(odds / odds.sum())


def datasets(made: Branches) -> list[float]:
    return [*made.weights().sum(axis=1).round(12)]


APART = [-0.2, 0.02, 0.03, -0.01, 0.01]
ALIKE = [0.0, 0.01, 0.02, -0.01, 0.01]


def test_the_rest_goes_to_a_dataset_that_stands_apart() -> None:
    made = method(even=0.2)
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    made.update(signals(APART))
    assert datasets(made) == pytest.approx([0.5, 0.42, 0.02, 0.02, 0.02, 0.02], abs=0.001)


@pytest.mark.parametrize("effects", [APART, ALIKE, [-0.5, -0.4, 0.3, 0.2, 0.1]])
def test_shares_are_those_of_the_formula(effects: list[float]) -> None:
    made = method(even=0.0)
    made.update(signals(effects))
    assert datasets(made) == pytest.approx([0.5, *0.5 * shared(effects)])


def test_harm_for_some_steps_changes_nothing() -> None:
    made = method(even=0.0)
    made.update(signals([0.0, 0.3, 0.0, 0.0, 0.5]))
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]


def test_harm_that_nearly_all_do_hides_no_dataset_that_does_less() -> None:
    """As to train on one dataset alone may do harm for some steps, whichever it is."""
    made = method(even=0.0)
    made.update(signals([0.11, 0.30, 0.31, 0.29, 0.30]))
    assert datasets(made)[1] > 0.49


def test_a_dataset_without_weight_stays_without() -> None:
    made = method(prior=dict(zip(NAMES, [5, 0, 1, 1, 1, 2], strict=True)), even=0.0)
    made.update(signals([np.nan, -0.01, 0.0, 0.01, 0.0], error=0.1))
    shares = datasets(made)
    assert shares[:2] == [0.5, 0.0]
    assert shares[2] > shares[4] > 0.09
    assert shares[5] == pytest.approx(0.2, abs=0.02)


def test_without_a_measurement_nothing_changes() -> None:
    made = method()
    made.update(signals([np.nan] * 5))
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]


@pytest.mark.parametrize("loud", ["error", "noise"])
def test_where_noise_hides_all_little_changes(loud: str) -> None:
    made = method()
    made.update(signals(APART, **{loud: 2.0}))
    assert datasets(made) == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], abs=0.01)


def test_each_set_of_the_target_gives_away_its_own_share() -> None:
    made = method({"exam": 0.75, "chat": 0.25}, even=0.0)
    made.update(signals(APART, ALIKE))
    assert datasets(made) == pytest.approx([0.5, *0.5 * (0.75 * shared(APART) + 0.25 * shared(ALIKE))])


def test_a_second_look_adds_to_the_first() -> None:
    """Twice the same small effect tells more than once, of noise that is known better."""
    effects = [-0.02, 0.01, -0.01, 0.0, 0.01]
    made = method(even=0.0)
    made.update(signals(effects))
    assert datasets(made) == pytest.approx([0.5, *0.5 * shared(effects)])
    made.update(signals(effects))
    assert datasets(made) == pytest.approx([0.5, *0.5 * shared(effects, looks=2)])
    assert shared(effects, looks=2)[0] > shared(effects)[0] + 0.2


def test_datasets_that_do_harm_do_not_hide_one_that_helps() -> None:
    """Effects of a real run, of which two do much harm."""
    effects = [-0.25, 0.21, 0.05, -0.02, -0.01, 0.32]
    made = method(names=(*NAMES, "noise"), even=0.0)
    made.update(signals(effects, error=0.03, noise=0.03))
    assert datasets(made)[1] > 0.44


@pytest.mark.parametrize("of_rows", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize(("measured", "most"), [(2, 0.17), (3, 0.12), (4, 0.1), (6, 0.1), (12, 0.08), (40, 0.08)])
def test_chance_seldom_gives_a_dataset_nearly_all(measured: int, most: float, of_rows: float) -> None:
    """Where none differs from another: how often one gets four fifths of what a set gives away, whatever the error of rows."""
    rng = np.random.default_rng(0)
    names = ("exam", *map(str, range(measured)))
    nearly_all = 0
    for _ in range(2000):
        made = method(names=names, even=0.0)
        as_it_is = rng.normal(0, 0.05, 3)
        effects = rng.normal(0, 0.05 * np.hypot(1, of_rows), measured) - as_it_is.mean()
        noise = as_it_is.std(ddof=1) * np.sqrt(1 + 1 / 3)
        made.update(signals([*effects], error=0.05 * of_rows, noise=noise))
        nearly_all += 2 * max(datasets(made)[1:]) > 0.8
    assert nearly_all / 2000 < most


def test_the_effects_of_a_set_stay_its_own_when_the_target_changes() -> None:
    made = method({"exam": 0.5, "chat": 0.5})
    made.update(signals(APART, ALIKE))
    resumed = method({"new": 0.5, "exam": 0.5})
    resumed.load_state_dict(json.loads(json.dumps(made.state_dict())))
    alone = method({"new": 0.5, "exam": 0.5})
    alone.update(signals([np.nan] * 5, APART))
    assert datasets(resumed) == datasets(alone)


def test_a_set_of_a_single_row_changes_nothing() -> None:
    made = method()
    made.update(signals(APART, error=np.nan))
    assert datasets(made) == [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("settings", "steps", "plan"),
    [
        ({}, 1000, BranchPlan((30,), 8, 12)),
        ({}, 120, BranchPlan((4,), 8, 11)),
        ({"branch_at": [0.5, 100]}, 1000, BranchPlan((100, 500), 8, 12)),
        ({"branch_steps": 40, "branch_budget": 0.16}, 1000, BranchPlan((30,), 8, 20)),
        ({"branch_steps": 2, "branch_budget": 0.2}, 100, BranchPlan((3,), 8, 2)),
    ],
)
def test_the_budget_shortens_branches(settings: dict[str, Any], steps: int, plan: BranchPlan) -> None:
    assert method(**settings).branches(steps) == plan


def test_branches_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="branch_budget") as error:
        method(branch_budget=0.2).branches(200)
    assert str(error.value) == (
        "`hbo.branch_budget: 0.2` leaves 5 steps for each of 8 branches in a run of 200 steps, but a branch needs 10; set it "
        "to 0.4, train for 400 steps, or mix fewer datasets."
    )
    with pytest.raises(ValueError, match="branch_at") as error:
        method(branch_at=0.98).branches(400)
    assert str(error.value) == (
        "`hbo.branch_at: 0.98` was given, but branches of 12 steps begin after the first of 400 steps and end by the "
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
