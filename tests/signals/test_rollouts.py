"""Rewards of answers: what they come to for each prompt, and by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

from hbo_plugin.cells import Cells
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.rollouts import Rollouts, statistics

REWARDS = st.lists(st.one_of(st.floats(-10, 10), st.just(np.nan)), min_size=4, max_size=4)


@given(st.lists(REWARDS, min_size=1, max_size=5))
def test_a_prompt_is_known_by_its_answers_that_have_a_reward(rewards: list[list[float]]) -> None:
    found, known = statistics(np.array(rewards))
    for of_prompt, told, is_known in zip(rewards, found.T, known, strict=True):
        answers = [reward for reward in of_prompt if not np.isnan(reward)]
        assert is_known == (len(answers) > 1)
        if is_known:
            mean = sum(answers) / len(answers)
            variance = sum((reward - mean) ** 2 for reward in answers) / (len(answers) - 1)
            advantage = sum(abs(reward - mean) for reward in answers) / len(answers)
            assert told == pytest.approx([mean, variance, advantage, float(len({*answers}) == 1)], abs=1e-9)


@pytest.mark.parametrize("answers", [2, 8])
def test_the_variance_does_not_depend_on_how_many_answers_there_are(answers: int) -> None:
    rewards = (np.random.default_rng(0).random((20_000, answers)) < 0.3).astype(float)
    (_, variance, *_), _ = statistics(rewards)
    assert variance.mean() == pytest.approx(0.3 * 0.7, abs=0.005)


def test_cells_have_the_means_of_their_prompts_until_they_are_measured() -> None:
    cells = Cells(("a", "b"), np.array([[2, 1], [3, 0]]), np.ones(6, np.int32), np.ones(6, np.int32), ("", ""))
    source = Rollouts(("reward", "no_variance"), Context(None, cells))
    source.rewarded(np.array([0, 1, 3]), np.array([[1.0, 0.0], [1.0, 1.0], [np.nan, 2.0]]))
    source.rewarded(np.array([0, 5]), np.array([[0.0, 0.0], [3.0, 1.0]]))
    assert source.dropped == 1
    resumed = Rollouts(("reward", "no_variance"), Context(None, cells))
    resumed.load_tensors({name: tensor.clone() for name, tensor in source.tensors().items()})
    for each in (source, resumed):
        found = each.measure(8)
        np.testing.assert_allclose(found["reward"], [[0.5, np.nan], [2.0, np.nan]])
        np.testing.assert_allclose(found["no_variance"], [[2 / 3, np.nan], [0.0, np.nan]])
        assert found.keys() == {"reward", "no_variance"}
        assert np.isnan(each.measure(9)["reward"]).all()
        assert each.take_means()["reward"] == {"a": 0.5, "b": 2.0}
        assert each.take_means()["reward"] == {}
