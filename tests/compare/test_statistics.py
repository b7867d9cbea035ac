"""The statistics of a comparison, against simulations with known effects and against published numbers."""

import math

import numpy as np
import pytest

from hbo_plugin.compare.statistics import LEVEL, MOST_SEEDS, POWER, Verdict, holm, paired, seeds_to_settle, verdict

REPEATS = 2000


def verdicts(effects: list[float], seeds: int) -> list[list[Verdict]]:
    """The verdicts on several arms, in many comparisons of normal differences with these means and standard deviation 1."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(REPEATS):
        differences = [paired(rng.normal(effect, 1, seeds)) for effect in effects]
        p = holm({str(index): each.p for index, each in enumerate(differences) if each.p is not None})
        found.append([verdict(each.mean, p[str(index)]) for index, each in enumerate(differences)])
    return found


@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_without_an_effect_few_comparisons_call_any_arm_better(seeds: int) -> None:
    found = verdicts([0.0] * 4, seeds)
    error = 3 * math.sqrt(LEVEL * (1 - LEVEL) / REPEATS)
    assert sum("better" in each for each in found) / REPEATS < LEVEL / 2 + error
    assert sum({*each} != {"inconclusive"} for each in found) / REPEATS < LEVEL + error


def test_an_effect_is_found_as_often_as_the_number_of_seeds_promises() -> None:
    """The textbook's number: a difference of one standard deviation takes ten pairs for a power of 0.8."""
    shape = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    pilot = shape / shape.std(ddof=1) - 1
    assert seeds_to_settle(pilot, 1) == 10
    found = verdicts([-1.0], 10)
    assert sum(each == ["better"] for each in found) / REPEATS == pytest.approx(POWER, abs=0.04)
    assert not any(each == ["worse"] for each in found)


def test_more_arms_take_more_seeds_and_hardly_any_effect_takes_too_many() -> None:
    shape = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    one, ten = (seeds_to_settle(shape + 1.5, arms) for arms in (1, 10))
    assert one is not None
    assert ten is not None
    assert one < ten <= MOST_SEEDS
    assert seeds_to_settle(shape + 0.01, 1) is None
    assert seeds_to_settle([1.0], 1) is None


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    found = [paired(rng.normal(0.3, 1, 5)) for _ in range(REPEATS)]
    inside = sum(each.low <= 0.3 <= each.high for each in found if each.low is not None and each.high is not None)
    assert inside / REPEATS == pytest.approx(0.95, abs=0.02)


def test_holm_corrects_step_by_step() -> None:
    # The example of R's `p.adjust`, method "holm".
    assert holm({"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.04, "c": 0.04, "d": 0.02}
    )
    assert holm({}) == {}


def test_equal_runs_differ_by_nothing_and_one_seed_decides_nothing() -> None:
    same = paired([0.0, 0.0, 0.0])
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert verdict(same.mean, same.p) == "inconclusive"
    one = paired([-0.5])
    assert (one.mean, one.p) == (-0.5, None)
    assert verdict(one.mean, one.p) == "inconclusive"
    assert verdict(0.2, 0.01) == "worse"
