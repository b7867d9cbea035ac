"""The methods with one actor, each against its paper's formula, computed another way."""

from __future__ import annotations

from fractions import Fraction
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from method_cases import ROWS, adam_steps, adam_steps_with_torch, column, logits, make, names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

AT_ONCE: dict[str, Any] = {"step_size": 1.0, "floor": 0.0}
"""Settings with which the closed form is at its target after every update."""


def normalise(values: Sequence[float]) -> list[float]:
    """Shares of the sum."""
    return [value / sum(values) for value in values]


def of_datasets(weights: NDArray[np.float64]) -> list[float]:
    """The weights of datasets whose levels must follow their rows."""
    datasets = weights.sum(axis=1)
    np.testing.assert_allclose(weights, datasets[:, None] * ROWS / ROWS.sum(axis=1, keepdims=True), rtol=1e-12)
    return [float(weight) for weight in datasets]


CELLS = np.array([[1.2, 0.9, 0.7], [0.8, 1.1, 1.3], [0.5, 9e9, 0.6]])
"""A signal of the cells of `ROWS`, of which one has no rows."""
MEANS = [(25 * 1.2 + 25 * 0.9 + 26 * 0.7) / 76, (300 * 0.8 + 300 * 1.1 + 301 * 1.3) / 901, (0.5 + 0.6) / 2]


# MoS, MoS+, MultiDDS, MultiUAT


@pytest.mark.parametrize(
    ("name", "chosen", "signals", "rewards"),
    [
        ("mos", {}, {"perplexity_ratio": CELLS}, MEANS),
        ("mos", {"reward": "similarity"}, {"similarity": np.array([0.9, 0.6, 0.3])}, [0.9, 0.6, 0.3]),
        ("multidds", {}, {"gradient_alignment": np.array([0.04, -0.2, 0.18])}, [0.04 * 76, 0.01 * 901, 0.18 * 8]),
        (
            "multiuat",
            {},
            {"entropy": CELLS},
            [rows * mean for rows, mean in zip((76, 901, 8), MEANS, strict=True)],
        ),
        (
            "multiuat",
            {"reward": "loss", "prior": "uniform"},
            {"loss": CELLS},
            MEANS,
        ),
    ],
)
def test_one_actor_rests_at_prior_times_reward(
    name: str, chosen: dict[str, Any], signals: dict[str, NDArray[np.float64]], rewards: list[float]
) -> None:
    method = make(name, ROWS, **chosen, **AT_ONCE)
    method.update(signals)
    np.testing.assert_allclose(of_datasets(method.weights()), normalise(rewards), rtol=1e-12)


def test_mos_averages_nine_parts_of_the_new_reward_with_one_of_the_old() -> None:
    method = make("mos", column(5, 50, 9), **AT_ONCE)
    for rewards in ([1, 2, 3], [3, 1, 1], [2, 2, 8]):
        method.update({"perplexity_ratio": column(*rewards).astype(float)})
    parts = [2 * 90 + 3 * 9 + 1, 2 * 90 + 1 * 9 + 2, 8 * 90 + 1 * 9 + 3]
    np.testing.assert_allclose(method.weights()[:, 0], normalise(parts), rtol=1e-12)


def test_mos_plus_has_one_distribution_over_all_cells() -> None:
    method = make("mos_plus", ROWS, **AT_ONCE)
    np.testing.assert_allclose(method.weights(), np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1]]) / 8, rtol=1e-12)
    method.update({"perplexity_ratio": CELLS})
    total = 1.2 + 0.9 + 0.7 + 0.8 + 1.1 + 1.3 + 0.5 + 0.6
    np.testing.assert_allclose(method.weights(), np.where(ROWS > 0, CELLS, 0) / total, rtol=1e-12)


@pytest.mark.parametrize("witness", [adam_steps, adam_steps_with_torch])
@pytest.mark.parametrize(
    ("name", "signal", "decay"),
    [("mos", "mean_perplexity_ratio", 0.1), ("multidds", "gradient_alignment", 0), ("multiuat", "entropy", 0)],
)
def test_the_published_form_of_each_has_the_published_actor(
    name: str, signal: str, decay: float, witness: Callable[..., NDArray[np.float64]]
) -> None:
    method = make(name, column(7, 7, 7, 7), published=True)
    averaged: list[list[float]] = [[1.0] * 4] if decay else []  # MoS averages from 1 on
    for rewards in ([0.2, 0.3, 0.7, 0.1], [0.1, 0.9, 0.3, 0.4]):
        values = np.array(rewards)
        method.update({signal: values if signal == "gradient_alignment" else values[:, None]})
        last = averaged[-1] if averaged else rewards
        averaged.append([decay * old + (1 - decay) * new for old, new in zip(last, rewards, strict=True)])
    np.testing.assert_allclose(logits(method.weights()), witness([0.0] * 4, averaged[-2:], fit=True), rtol=1e-9)


def test_mos_plus_as_published_gives_each_cell_a_logit() -> None:
    method = make("mos_plus", ROWS, published=True)
    method.update({"mean_perplexity_ratio": CELLS})
    arms = [0.1 + 0.9 * ratio for ratio in (1.2, 0.9, 0.7, 0.8, 1.1, 1.3, 0.5, 0.6)]
    np.testing.assert_allclose(logits(method.weights()[ROWS > 0]), adam_steps([0.0] * 8, [arms], fit=True), rtol=1e-9)


# ODM


def test_odm_is_the_smoothed_exponential_of_the_loss_beside_exploration() -> None:
    method = make("odm", ROWS, ema_decay=0.75, update_every=50)
    np.testing.assert_allclose(of_datasets(method.weights()), [76 / 985, 901 / 985, 8 / 985], rtol=1e-12)
    method.update({"loss": np.log([[2.0] * 3, [4.0] * 3, [1.0] * 3])})
    method.update({"loss": np.log([[6.0] * 3, [np.nan] * 3, [2.0] * 3])})
    estimates = [0.75 * 0.25 * 2 + 0.25 * 6, 0.25 * 4, 0.75 * 0.25 * 1 + 0.25 * 2]
    least = sqrt(log(3) / (3 * 100))  # at step 100
    expected = [(1 - 3 * least) * share + least for share in normalise(estimates)]
    np.testing.assert_allclose(of_datasets(method.weights()), expected, rtol=1e-12)


def test_odm_is_uniform_until_step_n_log_n_and_counts_steps_and_not_updates() -> None:
    loss = {"loss": np.array([[1.0], [2.0], [3.0], [4.0]])}
    each, few = (make("odm", column(10, 20, 30, 40), update_every=every) for every in (1, 100))
    for step in range(1, 8):
        each.update(loss)
        assert np.allclose(each.weights(), 0.25, rtol=1e-12) == (step <= 4 * log(4))
    few.update(loss)
    assert few.weights().max() > 0.5


# PiKE


def test_pike_adds_squared_norm_minus_variance_to_the_logarithm() -> None:
    method = make("pike", column(100, 100, 4), zeta_1=0.5, zeta_2=3.0, batch=16, gradient_rows=8)
    # Squares less variance over rows measured on: 4 - 8/8, 9 - 16/8, and 5 - 8/4 with its 4 rows. Unit: 18/3.
    squares, variances, mean = [Fraction(3), Fraction(7), Fraction(3)], [8, 16, 8], Fraction(6)
    for _ in range(2):
        method.update({"gradient_norm": np.sqrt([4.0, 9.0, 5.0]), "gradient_variance": np.array([8.0, 16.0, 8.0])})
    exponents = [
        2 * (square / 2 - Fraction(3, 2 * 16) * variance) / mean
        for square, variance in zip(squares, variances, strict=True)
    ]
    expected = normalise([exp(exponent) for exponent in exponents])
    np.testing.assert_allclose(method.weights()[:, 0], expected, rtol=1e-12)


def test_pike_charges_noise_that_a_gradient_norm_would_pay_for() -> None:
    """Rows of a dataset of pure noise, drawn: the norm of their mean gradient is larger than that of a clean one."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 1.0, size=(400, 32, 50))
    clean = 0.5 / sqrt(50) + random.normal(0, 0.01, size=(400, 32, 50))
    norms = np.array([[np.linalg.norm(rows.mean(axis=0)) for rows in dataset] for dataset in (noise, clean)])
    variances = np.array([[rows.var(axis=0, ddof=1).sum() for rows in dataset] for dataset in (noise, clean)])
    assert norms[0].mean() > norms[1].mean()
    method = make("pike", column(1000, 1000))
    for norm, variance in zip(norms.T[:20], variances.T[:20], strict=True):
        method.update({"gradient_norm": norm, "gradient_variance": variance})
    assert method.weights()[0, 0] < 0.2


def test_pike_takes_noise_for_its_unit_where_noise_covers_the_gradients() -> None:
    method = make("pike", column(500, 500, 500))
    method.update({"gradient_norm": np.array([0.3, 0.25, 0.17]), "gradient_variance": np.array([3, 2.05, 1])})
    unit = (3 / 32 + 2.05 / 32 + 1 / 32) / 3  # each more than the square of its norm
    expected = normalise([exp(-0.1 / 64 * variance / unit) for variance in (3, 2.05, 1)])
    np.testing.assert_allclose(method.weights()[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_pike_sees_no_unit(scale: float) -> None:
    plain, scaled = make("pike", column(1, 1)), make("pike", column(1, 1))
    norm, variance = np.array([2.0, 1.0]), np.array([1.0, 3.0])
    plain.update({"gradient_norm": norm, "gradient_variance": variance})
    scaled.update({"gradient_norm": scale * norm, "gradient_variance": scale**2 * variance})
    np.testing.assert_allclose(scaled.weights(), plain.weights(), rtol=1e-12)


# DynamixSFT


def test_dynamix_tilts_the_proportions_by_normalised_drops() -> None:
    method = make("dynamix", ROWS, ema_decay=0.75, exponent=2.0, floor=0.25)
    np.testing.assert_allclose(
        of_datasets(method.weights()), [0.75 * rows / 985 + 0.25 / 3 for rows in (76, 901, 8)], rtol=1e-12
    )
    method.update({"look_ahead": np.array([0.25, -0.25, 0.125])})  # normalised 1, 0, 3/4
    method.update({"look_ahead": np.array([0.5, np.nan, 0.75])})  # normalised 0, -, 1
    values = [Fraction(1, 4) * Fraction(3, 4), Fraction(0), Fraction(3, 16) * Fraction(3, 4) + Fraction(1, 4)]
    tilted = normalise([rows * exp(2 * value) for rows, value in zip((76, 901, 8), values, strict=True)])
    np.testing.assert_allclose(of_datasets(method.weights()), [0.75 * share + 0.25 / 3 for share in tilted], rtol=1e-12)


def test_dynamix_neither_pays_nor_charges_a_dataset_that_was_never_measured() -> None:
    method, first = make("dynamix", column(4, 4, 4)), make("dynamix", column(4, 4, 4)).weights()
    for _ in range(50):
        method.update({"look_ahead": np.array([0.3, 0.2, np.nan])})
    odds = np.log(method.weights() / (1 - 0.3) - 0.3 / 0.7 / 3)[:, 0]  # without the floor
    assert odds[2] == pytest.approx(odds[:2].mean(), rel=1e-12)
    assert first[2, 0] == pytest.approx(1 / 3)
    before = method.weights()[2, 0]
    method.update({"look_ahead": np.array([0.3, 0.2, 0.25])})  # its first value moves on from there
    assert method.weights()[2, 0] == pytest.approx(before, rel=0.01)


def test_dynamix_ranks_nothing_where_all_drop_alike_or_one_is_measured() -> None:
    other, alike = make("dynamix", column(3, 9)), make("dynamix", column(3, 9))
    alike.update({"look_ahead": np.array([0.3, 0.3])})
    np.testing.assert_allclose(alike.weights(), other.weights(), rtol=1e-12)
    alone = make("dynamix", column(3, 9), ema_decay=0.0, floor=0.0, exponent=2.0)
    alone.update({"look_ahead": np.array([np.nan, -7.0])})
    np.testing.assert_allclose(alone.weights()[:, 0], [0.25, 0.75], rtol=1e-12)


# DoReMi and target losses


def test_doremi_adds_excess_losses_to_the_logarithm() -> None:
    method = make("doremi", ROWS, step_size=2.0, floor=0.0)
    for _ in range(3):
        method.update({"perplexity_ratio": CELLS})
    excess = [
        (25 * log(1.2) + 25 * log(0.9) + 26 * log(0.7)) / 76,
        (300 * log(0.8) + 300 * log(1.1) + 301 * log(1.3)) / 901,
        (log(0.5) + log(0.6)) / 2,
    ]
    expected = normalise([exp(6 * value) for value in excess])
    np.testing.assert_allclose(of_datasets(method.weights()), expected, rtol=1e-12)


def test_doremi_unclipped_favours_what_improved_least_where_clipped_stays_put() -> None:
    improved = {"perplexity_ratio": column(1, 1).astype(float) * [[0.9], [0.5]]}
    unclipped, clipped = make("doremi", column(5, 5)), make("doremi", column(5, 5), clip=True)
    for method in (unclipped, clipped):
        method.update(improved)
    np.testing.assert_allclose(clipped.weights()[:, 0], [0.5, 0.5], rtol=1e-12)
    share = 0.9 / 1.4
    np.testing.assert_allclose(unclipped.weights()[0, 0], 0.999 * share + 0.001 / 2, rtol=1e-12)
    # The next update starts from the floored weight.
    unclipped.update({"perplexity_ratio": np.array([[np.nan], [0.5]])})
    first = 0.999 * share + 0.0005
    odds = normalise([0.9 * first, 0.5 * (1 - first)])
    np.testing.assert_allclose(unclipped.weights()[0, 0], 0.999 * odds[0] + 0.0005, rtol=1e-12)


def test_target_loss_adds_the_distance_to_the_goal_to_the_logarithm() -> None:
    goals = {"d0": 1.0, "d2": 0.25, "d1": 2.0}
    kept, clipped = (
        make("target_loss", ROWS, names=names(ROWS), goal_losses=goals, floor=0.0, clip=clip) for clip in (False, True)
    )
    for method in (kept, clipped):
        method.update({"held_out_loss": np.array([1.5, 1.75, 0.5])})
        method.update({"held_out_loss": np.array([1.5, np.nan, 0.5])})
    rows = (76, 901, 8)
    expected = [size * exp(2 * gap) for size, gap in zip(rows, (0.5, -0.25, 0.25), strict=True)]
    np.testing.assert_allclose(of_datasets(kept.weights()), normalise(expected), rtol=1e-12)
    expected = [size * exp(2 * gap) for size, gap in zip(rows, (0.5, 0, 0.25), strict=True)]
    np.testing.assert_allclose(of_datasets(clipped.weights()), normalise(expected), rtol=1e-12)


def test_target_loss_has_a_uniform_floor() -> None:
    method = make("target_loss", column(1, 3), names=("a", "b"), goal_losses={"a": 1, "b": 1}, floor=0.5)
    method.update({"held_out_loss": np.array([1.0, 1.0])})
    np.testing.assert_allclose(method.weights()[:, 0], [0.5 * 0.25 + 0.25, 0.5 * 0.75 + 0.25], rtol=1e-12)


def test_target_loss_without_goals_is_refused() -> None:
    with pytest.raises(ValueError, match="goal_losses") as error:
        make("target_loss", column(1, 3), names=("a", "b"))
    assert str(error.value) == "`hbo.goal_losses` is missing, but it has no default; add it."


# Learning progress


def test_learning_progress_is_the_relative_fall_of_the_loss() -> None:
    method = make("learning_progress", column(1, 8, 27), shrinkage=0.25, ema_decay=0.0, exponent=1.0, **AT_ONCE)
    prior = [1 / 6, 2 / 6, 3 / 6]
    method.update({"loss": column(2, 4, 1).astype(float)})
    np.testing.assert_allclose(method.weights()[:, 0], prior, rtol=1e-12)
    method.update({"loss": np.array([[1.0], [3.0], [1.5]])})  # falls by 1/2, 1/4 and not at all
    rewards = [0.75 * 0.5 + 0.125, 0.75 * 0.25 + 0.125, 0.125]
    expected = normalise([share * reward for share, reward in zip(prior, rewards, strict=True)])
    np.testing.assert_allclose(method.weights()[:, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("datasets", [2, 100])
def test_learning_progress_of_one_counts_the_same_among_few_and_many(datasets: int) -> None:
    method = make("learning_progress", column(*[50] * datasets), floor=0.0)
    for first in (2.0, 1.0):
        method.update({"loss": np.array([first] + [2.0] * (datasets - 1))[:, None]})
    odds = method.weights()[0, 0] / method.weights()[1, 0]
    assert odds == pytest.approx((1 / 0.1) ** (0.5 * 0.5), rel=1e-12)


def test_learning_progress_compares_with_the_last_loss_that_was_measured() -> None:
    method = make("learning_progress", column(1, 1), shrinkage=0.0, ema_decay=0.0, exponent=1.0, **AT_ONCE)
    method.update({"loss": np.array([[2.0], [2.0]])})
    method.update({"loss": np.array([[np.nan], [1.0]])})
    np.testing.assert_allclose(method.weights()[:, 0], [0.5, 0.5], rtol=1e-12)  # one alone stands out from none
    method.update({"loss": np.array([[0.5], [0.75]])})  # falls by 3/4 since it was measured, and by 1/4
    np.testing.assert_allclose(method.weights()[:, 0], [0.75, 0.25], rtol=1e-12)


def test_learning_progress_of_nobody_leads_back_to_the_prior() -> None:
    method = make("learning_progress", column(1, 8), ema_decay=0.0, **AT_ONCE)
    for losses in ([1.0, 1.0], [0.5, 0.9]):
        method.update({"loss": np.array(losses)[:, None]})
    assert method.weights()[0, 0] > 0.4
    method.update({"loss": np.array([[0.6], [0.9]])})
    np.testing.assert_allclose(method.weights()[:, 0], [1 / 3, 2 / 3], rtol=1e-12)


# Random rewards


def test_random_rewards_lie_within_their_spread_and_favour_nobody() -> None:
    method = make("random", column(5, 5), prior="uniform", ema_decay=0.0, exponent=1.0, seed=1, spread=4.0, **AT_ONCE)
    odds = []
    for _ in range(2000):
        method.update({"gradient_norm": np.array([1.0, 1e9]), "perplexity_ratio": np.ones((2, 1))})
        odds.append(log(method.weights()[0, 0] / method.weights()[1, 0]))
    # The logarithm of a reward is uniform on +-log 4, of variance log(4)^2 / 3; an odds is the difference of two.
    assert np.abs(odds).max() < 2 * log(4)
    assert np.var(odds) == pytest.approx(2 * log(4) ** 2 / 3, rel=0.1)
    assert abs(np.mean(odds)) < 4 * np.std(odds) / sqrt(2000)


def test_random_rewards_depend_on_the_seed_and_the_update_alone() -> None:
    signals = {"gradient_norm": np.ones(3), "perplexity_ratio": np.ones((3, 3))}
    others = {"gradient_norm": np.array([1.0, 2.0, 9.0]), "perplexity_ratio": np.full((3, 3), 4.0)}
    first, same, other = (make("random", ROWS, seed=seed) for seed in (1, 1, 2))
    for _ in range(3):
        first.update(signals)
        same.update(others)
        other.update(signals)
    np.testing.assert_array_equal(same.weights(), first.weights())
    assert not np.allclose(other.weights(), first.weights(), rtol=1e-2)


def test_random_rewards_go_through_the_update_of_hbo_where_there_was_a_measurement() -> None:
    """What a twin that rests at its rewards shows of them, given to HBO, gives the same weights."""
    # Without an average only ratios of rewards count, so the twin's weights will do as rewards.
    method, other = make("random", ROWS, seed=3, ema_decay=0.0), make("hbo", ROWS, ema_decay=0.0)
    twin = make("random", ROWS, seed=3, prior="uniform", ema_decay=0.0, exponent=1.0, **AT_ONCE)
    whole = {"gradient_norm": np.ones(3), "perplexity_ratio": np.ones((3, 3))}
    missed = {"gradient_norm": np.array([5.0, 2.0, 1.0]), "perplexity_ratio": np.array([[1.0], [np.nan], [1.0]]) * ROWS}
    for measured in (whole, missed, whole):
        twin.update(whole)
        method.update(measured)
        rewards = {"gradient_norm": twin.weights().sum(axis=1), "perplexity_ratio": twin.weights()}
        other.update({name: np.where(np.isnan(measured[name]), np.nan, rewards[name]) for name in rewards})
        np.testing.assert_allclose(method.weights(), other.weights(), rtol=1e-9)
