"""HBO, corrected and adam_steps, against calculations of its own; and the behaviours that the docstrings promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from method_cases import ROWS, adam_steps, adam_steps_with_torch, column, logits, make, random_signals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def named(norm: NDArray[np.float64], ratio: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The rewards of the global and of the local actors, under the names of either form."""
    return {
        **dict.fromkeys(("gradient_norm", "row_gradient_norm"), norm),
        **dict.fromkeys(("perplexity_ratio", "mean_perplexity_ratio"), ratio),
    }


def gradient_norm(*datasets: float) -> dict[str, NDArray[np.float64]]:
    """Rewards for the global actor over datasets of one level each; the local actors have nothing to learn."""
    return named(np.array(datasets), np.ones((len(datasets), 1)))


def perplexity_ratio(*levels: float) -> dict[str, NDArray[np.float64]]:
    """Rewards for the local actor of a single dataset."""
    return named(np.ones(1), np.array([levels]))


# The corrected update


def test_hbo_starts_at_the_tempered_prior_with_uniform_levels() -> None:
    # Cube roots of 8, 27 and 1 row.
    expected = np.array([[2 / 6 / 2, 2 / 6 / 2], [3 / 6 / 2, 3 / 6 / 2], [1 / 6, 0]])
    np.testing.assert_allclose(make("hbo", np.array([[4, 4], [14, 13], [1, 0]])).weights(), expected, rtol=1e-12)


def test_hbo_two_updates_by_hand() -> None:
    method = make("hbo", column(1, 8), prior=3.0, step_size=0.5, floor=0.1, ema_decay=0.25, exponent=0.5)
    # Prior (1, 2)/3. Averages are the first rewards: target ~ (1 * sqrt(16), 2 * sqrt(1)) = (4, 2).
    # moved ~ sqrt((1, 2) * (4, 2)) = (2, 2), so one half each.
    method.update(gradient_norm(16, 1))
    first = 0.9 * np.array([1 / 2, 1 / 2]) + 0.1 * np.array([1 / 3, 2 / 3])
    np.testing.assert_allclose(method.weights()[:, 0], first, rtol=1e-12)
    # Averages: 0.25 * 16 + 0.75 * 28 = 25, and 1 still, since the second was not measured: target ~ (5, 2).
    method.update(gradient_norm(28, np.nan))
    moved = np.sqrt(first * [5, 2])
    second = 0.9 * moved / moved.sum() + 0.1 * np.array([1 / 3, 2 / 3])
    np.testing.assert_allclose(method.weights()[:, 0], second, rtol=1e-12)


def test_hbo_counts_an_arm_never_measured_as_the_mean_of_the_others() -> None:
    three, expected_method = (make("hbo", column(5, 9, 2)) for _ in range(2))
    three.update(gradient_norm(1, 5, np.nan))
    expected_method.update(gradient_norm(1, 5, 3))
    np.testing.assert_allclose(three.weights(), expected_method.weights(), rtol=1e-12)


def test_hbo_with_exponent_1_and_a_uniform_prior_rests_where_the_published_update_does() -> None:
    method = make("hbo", np.array([[7, 7, 7, 7]]), floor=0.0, exponent=1.0)
    for _ in range(60):
        method.update(perplexity_ratio(1, 2, 3, 4))
    np.testing.assert_allclose(method.weights()[0], [0.1, 0.2, 0.3, 0.4], rtol=1e-12)


def test_hbo_rests_at_prior_times_reward_to_the_exponent() -> None:
    method = make("hbo", column(1, 8, 27), prior=3.0, floor=0.0, exponent=0.5)
    for _ in range(60):
        method.update(gradient_norm(4, 1, 9))
    np.testing.assert_allclose(method.weights()[:, 0], np.array([2, 2, 9]) / 13, rtol=1e-12)


@pytest.mark.parametrize("rewards", [(3, 3, 3), (0, 0, 0), (-1, -2, -3)])
def test_hbo_stays_at_the_prior_where_no_reward_stands_out(rewards: tuple[float, ...]) -> None:
    method = make("hbo", column(1, 8, 27))
    for _ in range(3):
        method.update(gradient_norm(*rewards))
    np.testing.assert_allclose(method.weights()[:, 0], np.array([1, 2, 3]) / 6, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-90, 1e-3, 1e90])
def test_hbo_sees_only_ratios_of_rewards(scale: float) -> None:
    plain, scaled = (make("hbo", column(5, 9, 2)) for _ in range(2))
    for rewards in ([1.0, 5.0, 2.0], [3.0, 4.0, 0.5]):
        plain.update(gradient_norm(*rewards))
        scaled.update(gradient_norm(*(scale * reward for reward in rewards)))
    np.testing.assert_allclose(scaled.weights(), plain.weights(), rtol=1e-9)


def test_hbo_floor_holds_and_an_arm_comes_back_from_it() -> None:
    method = make("hbo", column(50, 50), step_size=1.0, floor=0.2, ema_decay=0.0, exponent=1.0)
    method.update(gradient_norm(0, 1))
    np.testing.assert_allclose(method.weights()[:, 0], [0.1, 0.9], rtol=1e-12)
    method.update(gradient_norm(1, 0))
    np.testing.assert_allclose(method.weights()[:, 0], [0.9, 0.1], rtol=1e-12)


def test_hbo_without_a_floor_never_loses_an_arm() -> None:
    method = make("hbo", np.array([[5, 5], [5, 5]]), floor=0.0, exponent=50.0)
    worst = {"gradient_norm": np.array([0.0, 1e300]), "perplexity_ratio": np.array([[0.0, 1.0], [0.0, 1.0]])}
    best = {name: values[..., ::-1] for name, values in worst.items()}
    for _ in range(100):
        method.update(worst)
    assert method.weights().min() > 0
    for _ in range(100):
        method.update(best)
    assert method.weights()[0, 0] > 0.99


def test_hbo_of_absurd_exponent_follows_the_largest_reward() -> None:
    method = make("hbo", column(5, 5), floor=0.0, exponent=1e308)
    with np.errstate(over="ignore"):
        method.update(gradient_norm(1e100, 1e99))
    np.testing.assert_allclose(method.weights()[:, 0], [1, 0], atol=1e-12)


# The published update

REWARDS = [[2.0, 0.3, 7.0, 1.0], [1.0, 0.9, 3.0, 4.0], [5.0, 5.0, 0.1, 2.0]]


@pytest.mark.parametrize("witness", [adam_steps, adam_steps_with_torch])
def test_published_global_actor_is_the_published_update(witness: Callable[..., NDArray[np.float64]]) -> None:
    method = make("hbo", column(25, 25, 25, 25), published=True)
    for rewards in REWARDS:
        method.update(gradient_norm(*rewards))
    expected = witness([0.0] * 4, REWARDS, fit=True)
    np.testing.assert_allclose(logits(method.weights()), expected, rtol=1e-10)


@pytest.mark.parametrize("witness", [adam_steps, adam_steps_with_torch])
def test_published_local_actor_starts_uniform_with_relative_rewards(
    witness: Callable[..., NDArray[np.float64]],
) -> None:
    method = make("hbo", np.array([[9, 10, 10, 10]]), published=True)
    # Rewards small enough that Adam's epsilon tells relative rewards from raw ones.
    rewards = [[1e-9 * reward for reward in levels] for levels in REWARDS]
    for levels in rewards:
        method.update(perplexity_ratio(*levels))
    expected = witness([0.0] * 4, [[level / np.mean(levels) for level in levels] for levels in rewards])
    np.testing.assert_allclose(logits(method.weights()), expected, rtol=1e-10)


def test_published_first_update_moves_a_logit_by_200_times_the_learning_rate() -> None:
    method = make("hbo", column(10, 10, 10, 10), published=True)
    method.update(gradient_norm(1, 1, 1, 300))
    moved = np.log(method.weights()[:, 0] / 0.25)
    assert moved[3] - moved[0] == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("scale", [1e-3, 300.0, 1e90])
def test_published_is_blind_to_the_scale_of_rewards(scale: float) -> None:
    # With equal datasets: the fit to another prior leaves moments, which small rewards do not cover.
    plain, scaled = (make("hbo", column(5, 5, 5), published=True) for _ in range(2))
    for rewards in ([1.0, 5.0, 2.0], [3.0, 4.0, 0.5]):
        plain.update(gradient_norm(*rewards))
        scaled.update(gradient_norm(*(scale * reward for reward in rewards)))
    # Adam's epsilon is all that sees the scale.
    np.testing.assert_allclose(scaled.weights(), plain.weights(), rtol=1e-5)


def test_published_rests_at_rewards_over_their_sum_whatever_the_prior() -> None:
    method = make("hbo", column(16, 1, 3), published=True)
    for _ in range(120):
        method.update(gradient_norm(0.5, 0.8, 0.7))
    np.testing.assert_allclose(method.weights()[:, 0], [0.25, 0.4, 0.35], atol=1e-3)


def test_published_waits_for_every_arm_then_keeps_last_rewards() -> None:
    method, expected_method = (make("hbo", column(6, 3, 3), published=True) for _ in range(2))
    before = method.weights()
    method.update(gradient_norm(2, np.nan, 3))
    np.testing.assert_array_equal(method.weights(), before)
    method.update(gradient_norm(np.inf, 1, np.nan))
    expected_method.update(gradient_norm(2, 1, 3))
    np.testing.assert_array_equal(method.weights(), expected_method.weights())
    assert not np.array_equal(method.weights(), before)


# Both


@pytest.mark.parametrize("form", ["corrected", "published"])
def test_an_actor_without_any_reward_stays_where_it_is(form: str) -> None:
    method = make("hbo", ROWS, published=form == "published")
    method.update(random_signals(ROWS, np.random.default_rng(7)))
    before, state = method.weights(), method.state_dict()
    method.update(named(np.full(3, np.inf), np.full((3, 3), np.nan)))
    np.testing.assert_array_equal(method.weights(), before)
    assert method.state_dict() == state


@pytest.mark.parametrize("form", ["corrected", "published"])
def test_local_rewards_move_only_their_dataset_and_skip_empty_levels(form: str) -> None:
    method = make("hbo", ROWS, published=form == "published")
    before = method.weights()
    ratio = np.full((3, 3), np.nan)
    ratio[2] = [2, 1e9, 1]  # level 1 of dataset 2 has no rows: whatever stands there is not read
    method.update(named(np.full(3, np.nan), ratio))
    after = method.weights()
    np.testing.assert_array_equal(after[:2], before[:2])
    assert after[2].sum() == pytest.approx(before[2].sum())
    assert after[2, 0] > before[2, 0]
    assert after[2, 1] == 0
    assert after[2, 2] < before[2, 2]


# Rewards


def test_hbo_takes_any_signal_for_its_rewards() -> None:
    random = np.random.default_rng(3)
    loss, entropy = random.gamma(2, size=(2, 3, 3))
    loss[0, 1] = np.nan
    chosen = make("hbo", ROWS, reward={"global": "loss", "local": "entropy"})
    assert chosen.signals == ("loss", "entropy")
    chosen.update({"loss": loss, "entropy": entropy})
    means = [
        np.average(loss[0, [0, 2]], weights=[25, 26]),
        np.average(loss[1], weights=ROWS[1]),
        loss[2, [0, 2]].mean(),
    ]
    expected_method = make("hbo", ROWS)
    expected_method.update({"gradient_norm": np.array(means), "perplexity_ratio": entropy})
    np.testing.assert_allclose(chosen.weights(), expected_method.weights(), rtol=1e-12)


def test_a_reward_left_out_stays_as_published_and_one_signal_is_measured_once() -> None:
    assert make("hbo", ROWS, reward={"global": "similarity"}).signals == ("similarity", "perplexity_ratio")
    assert make("hbo", ROWS, reward={"local": "loss"}, published=True).signals == ("row_gradient_norm", "loss")
    assert make("hbo", ROWS, reward={"global": "loss", "local": "loss"}).signals == ("loss",)


SIGNAL_NAMES = (
    "`gradient_norm`, `row_gradient_norm`, `gradient_variance`, `gradient_alignment`, `similarity`, `loss`, "
    "`perplexity_ratio`, `mean_perplexity_ratio`, `entropy`, `pair_loss`, `margin`, `held_out_loss`, `look_ahead`, `twin_gap`, "
    "`reward`, `reward_variance`, `advantage` or `no_variance`"
)
CELL_SIGNAL_NAMES = (
    "`loss`, `perplexity_ratio`, `mean_perplexity_ratio`, `entropy`, `pair_loss`, `margin`, `reward`, `reward_variance`, "
    "`advantage` or `no_variance`"
)
DEFAULTS = {
    "corrected": "{global: gradient_norm, local: perplexity_ratio}",
    "published": "{global: row_gradient_norm, local: mean_perplexity_ratio}",
}


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            "loss",
            "`hbo.reward: loss` was given, but it must be a block of keys; change it, or remove it for the default of `DEFAULT`.",
        ),
        ({"globl": "loss"}, "`hbo.reward.globl: loss` was given, but that is no key; remove it."),
        ({"global": "los"}, f"`hbo.reward.global: los` was given, but it must be {SIGNAL_NAMES}; change it."),
        (
            {"local": "gradient_norm"},
            f"`hbo.reward.local: gradient_norm` was given, but it must be {CELL_SIGNAL_NAMES}; change it.",
        ),
        ({"local": ["loss"]}, f"`hbo.reward.local: [loss]` was given, but it must be {CELL_SIGNAL_NAMES}; change it."),
    ],
)
@pytest.mark.parametrize("form", ["corrected", "published"])
def test_a_reward_that_is_none_is_refused(reward: Any, message: str, form: str) -> None:
    with pytest.raises(ValueError, match="reward") as error:
        make("hbo", ROWS, reward=reward, published=form == "published")
    assert str(error.value) == message.replace("DEFAULT", DEFAULTS[form])
