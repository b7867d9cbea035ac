"""The methods against calculations of their own, and the behaviours that their docstrings promise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hbo_plugin.methods import METHODS
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.reference import HboReference
from hbo_plugin.methods.static import Static

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

ROWS = np.array([[25, 25, 26], [300, 300, 301], [4, 0, 4]])


def gradient_norm(*datasets: float) -> dict[str, NDArray[np.float64]]:
    """Rewards for the global actor over datasets of one level each; the local actors have nothing to learn."""
    return {"gradient_norm": np.array(datasets), "perplexity_ratio": np.ones((len(datasets), 1))}


def perplexity_ratio(*levels: float) -> dict[str, NDArray[np.float64]]:
    """Rewards for the local actor of a single dataset."""
    return {"gradient_norm": np.ones(1), "perplexity_ratio": np.array([levels])}


def column(*rows: int) -> NDArray[np.int64]:
    """Datasets of one level each."""
    return np.array(rows)[:, None]


def logits(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithms of weights, centred: what moves when an actor learns."""
    values = np.log(weights.ravel())
    return np.asarray(values - values.mean())


# Static methods


@pytest.mark.parametrize(
    ("method", "datasets"),
    [
        (METHODS["proportional"](ROWS), [76 / 985, 901 / 985, 8 / 985]),
        (METHODS["uniform"](ROWS), [1 / 3, 1 / 3, 1 / 3]),
        (METHODS["temperature"](np.array([[8, 0], [13, 14], [64, 61]]), temperature=3.0), [0.2, 0.3, 0.5]),
    ],
)
def test_static_weights_of_datasets(method: Method, datasets: list[float]) -> None:
    np.testing.assert_allclose(method.weights().sum(axis=1), datasets, rtol=1e-12)


@pytest.mark.parametrize("name", ["proportional", "temperature", "uniform"])
def test_static_levels_follow_their_rows_and_updates_change_nothing(name: str) -> None:
    method = METHODS[name](ROWS)
    before = method.weights()
    shares = before / before.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, ROWS / ROWS.sum(axis=1, keepdims=True), rtol=1e-12)
    assert method.signals == ()
    method.update({})
    method.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(method.weights(), before)


# The corrected update


def test_hbo_starts_at_the_tempered_prior_with_uniform_levels() -> None:
    # Cube roots of 8, 27 and 1 row.
    expected = np.array([[2 / 6 / 2, 2 / 6 / 2], [3 / 6 / 2, 3 / 6 / 2], [1 / 6, 0]])
    np.testing.assert_allclose(Hbo(np.array([[4, 4], [14, 13], [1, 0]])).weights(), expected, rtol=1e-12)


def test_hbo_two_updates_by_hand() -> None:
    method = Hbo(column(1, 8), temperature=3.0, rate=0.5, floor=0.1, smoothing=0.25, strength=0.5)
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
    three, told = (Hbo(column(5, 9, 2)) for _ in range(2))
    three.update(gradient_norm(1, 5, np.nan))
    told.update(gradient_norm(1, 5, 3))
    np.testing.assert_allclose(three.weights(), told.weights(), rtol=1e-12)


def test_hbo_with_strength_1_and_a_uniform_prior_rests_where_the_published_update_does() -> None:
    method = Hbo(np.array([[7, 7, 7, 7]]), floor=0.0, strength=1.0)
    for _ in range(60):
        method.update(perplexity_ratio(1, 2, 3, 4))
    np.testing.assert_allclose(method.weights()[0], [0.1, 0.2, 0.3, 0.4], rtol=1e-12)


def test_hbo_rests_at_prior_times_reward_to_the_strength() -> None:
    method = Hbo(column(1, 8, 27), temperature=3.0, floor=0.0, strength=0.5)
    for _ in range(60):
        method.update(gradient_norm(4, 1, 9))
    np.testing.assert_allclose(method.weights()[:, 0], np.array([2, 2, 9]) / 13, rtol=1e-12)


@pytest.mark.parametrize("rewards", [(3, 3, 3), (0, 0, 0), (-1, -2, -3)])
def test_hbo_stays_at_the_prior_where_no_reward_stands_out(rewards: tuple[float, ...]) -> None:
    method = Hbo(column(1, 8, 27))
    for _ in range(3):
        method.update(gradient_norm(*rewards))
    np.testing.assert_allclose(method.weights()[:, 0], np.array([1, 2, 3]) / 6, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-90, 1e-3, 1e90])
def test_hbo_sees_only_ratios_of_rewards(scale: float) -> None:
    plain, scaled = (Hbo(column(5, 9, 2)) for _ in range(2))
    for rewards in ([1.0, 5.0, 2.0], [3.0, 4.0, 0.5]):
        plain.update(gradient_norm(*rewards))
        scaled.update(gradient_norm(*(scale * reward for reward in rewards)))
    np.testing.assert_allclose(scaled.weights(), plain.weights(), rtol=1e-9)


def test_hbo_floor_holds_and_an_arm_comes_back_from_it() -> None:
    method = Hbo(column(50, 50), rate=1.0, floor=0.2, smoothing=0.0, strength=1.0)
    method.update(gradient_norm(0, 1))
    np.testing.assert_allclose(method.weights()[:, 0], [0.1, 0.9], rtol=1e-12)
    method.update(gradient_norm(1, 0))
    np.testing.assert_allclose(method.weights()[:, 0], [0.9, 0.1], rtol=1e-12)


def test_hbo_without_a_floor_never_loses_an_arm() -> None:
    method = Hbo(np.array([[5, 5], [5, 5]]), floor=0.0, strength=50.0)
    worst = {"gradient_norm": np.array([0.0, 1e300]), "perplexity_ratio": np.array([[0.0, 1.0], [0.0, 1.0]])}
    best = {name: values[..., ::-1] for name, values in worst.items()}
    for _ in range(100):
        method.update(worst)
    assert method.weights().min() > 0
    for _ in range(100):
        method.update(best)
    assert method.weights()[0, 0] > 0.99


def test_hbo_of_absurd_strength_follows_the_largest_reward() -> None:
    method = Hbo(column(5, 5), floor=0.0, strength=1e308)
    with np.errstate(over="ignore"):
        method.update(gradient_norm(1e100, 1e99))
    np.testing.assert_allclose(method.weights()[:, 0], [1, 0], atol=1e-12)


# The published update


def published(first: list[float], rewards: list[list[float]]) -> NDArray[np.float64]:
    """Logits after updates of 200 Adam steps each, arm by arm, from the formulas of the two papers."""
    arms = range(len(first))
    a, m, v, t = list(first), [0.0 for _ in arms], [0.0 for _ in arms], 0
    for r in rewards:
        for _ in range(200):
            t += 1
            total = sum(np.exp(a[k]) for k in arms)
            gradient = [np.exp(a[k]) / total * sum(r) - r[k] for k in arms]
            for k in arms:
                m[k] = 0.9 * m[k] + 0.1 * gradient[k]
                v[k] = 0.999 * v[k] + 0.001 * gradient[k] ** 2
                a[k] -= 1e-4 * (m[k] / (1 - 0.9**t)) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
    return np.asarray(np.array(a) - np.mean(a))


def published_with_torch(first: list[float], rewards: list[list[float]]) -> NDArray[np.float64]:
    """The same from torch's own Adam and its own gradients."""
    torch = pytest.importorskip("torch")
    a = torch.tensor(first, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([a], lr=1e-4)
    for r in rewards:
        for _ in range(200):
            adam.zero_grad()
            (-torch.tensor(r, dtype=torch.float64) @ torch.log_softmax(a, dim=0)).backward()
            adam.step()
    return np.asarray((a - a.mean()).detach().numpy())


REWARDS = [[2.0, 0.3, 7.0, 1.0], [1.0, 0.9, 3.0, 4.0], [5.0, 5.0, 0.1, 2.0]]


@pytest.mark.parametrize("witness", [published, published_with_torch])
def test_reference_global_actor_is_the_published_update(witness: Callable[..., NDArray[np.float64]]) -> None:
    method = HboReference(column(900, 60, 30, 10))
    for rewards in REWARDS:
        method.update(gradient_norm(*rewards))
    expected = witness([float(np.log(share)) for share in (0.9, 0.06, 0.03, 0.01)], REWARDS)
    np.testing.assert_allclose(logits(method.weights()), expected, rtol=1e-10)


@pytest.mark.parametrize("witness", [published, published_with_torch])
def test_reference_local_actor_starts_uniform_with_relative_rewards(
    witness: Callable[..., NDArray[np.float64]],
) -> None:
    method = HboReference(np.array([[9, 10, 10, 10]]))
    # Rewards small enough that Adam's epsilon tells relative rewards from raw ones.
    rewards = [[1e-9 * reward for reward in levels] for levels in REWARDS]
    for levels in rewards:
        method.update(perplexity_ratio(*levels))
    expected = witness([0.0] * 4, [[level / np.mean(levels) for level in levels] for levels in rewards])
    np.testing.assert_allclose(logits(method.weights()), expected, rtol=1e-10)


def test_reference_first_update_moves_a_logit_by_200_times_the_learning_rate() -> None:
    method = HboReference(column(10, 10, 10, 10))
    method.update(gradient_norm(1, 1, 1, 300))
    moved = np.log(method.weights()[:, 0] / 0.25)
    assert moved[3] - moved[0] == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize("scale", [1e-3, 300.0, 1e90])
def test_reference_is_blind_to_the_scale_of_rewards(scale: float) -> None:
    plain, scaled = (HboReference(column(5, 9, 2)) for _ in range(2))
    for rewards in ([1.0, 5.0, 2.0], [3.0, 4.0, 0.5]):
        plain.update(gradient_norm(*rewards))
        scaled.update(gradient_norm(*(scale * reward for reward in rewards)))
    # Adam's epsilon is all that sees the scale.
    np.testing.assert_allclose(scaled.weights(), plain.weights(), rtol=1e-5)


def test_reference_rests_at_rewards_over_their_sum_whatever_the_prior() -> None:
    method = HboReference(column(16, 1, 3))
    for _ in range(120):
        method.update(gradient_norm(0.5, 0.8, 0.7))
    np.testing.assert_allclose(method.weights()[:, 0], [0.25, 0.4, 0.35], atol=1e-3)


def test_reference_waits_for_every_arm_then_keeps_last_rewards() -> None:
    method, told = (HboReference(column(6, 3, 3)) for _ in range(2))
    before = method.weights()
    method.update(gradient_norm(2, np.nan, 3))
    np.testing.assert_array_equal(method.weights(), before)
    method.update(gradient_norm(np.inf, 1, np.nan))
    told.update(gradient_norm(2, 1, 3))
    np.testing.assert_array_equal(method.weights(), told.weights())
    assert not np.array_equal(method.weights(), before)


# All methods


def signals_for(rows: NDArray[np.int64], random: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Rewards of ordinary size, a quarter of them not measured."""
    signals: dict[str, NDArray[np.float64]] = {
        "gradient_norm": random.gamma(2, size=len(rows)),
        "perplexity_ratio": random.gamma(2, size=rows.shape),
    }
    for values in signals.values():
        values[random.random(values.shape) < 0.25] = np.nan
    return signals


@pytest.mark.parametrize("name", METHODS)
def test_state_goes_through_json_and_continues_bit_for_bit(name: str) -> None:
    random = np.random.default_rng(5)
    stream = [signals_for(ROWS, random) for _ in range(8)]
    for stop in (0, 1, 4):
        method, restored = METHODS[name](ROWS), METHODS[name](ROWS)
        for signals in stream[:stop]:
            method.update(signals)
        restored.load_state_dict(json.loads(json.dumps(method.state_dict(), allow_nan=False)))
        np.testing.assert_array_equal(restored.weights(), method.weights())
        for signals in stream[stop:]:
            method.update(signals)
            restored.update(signals)
            np.testing.assert_array_equal(restored.weights(), method.weights())


@pytest.mark.parametrize("make", [Hbo, HboReference])
def test_an_actor_without_any_reward_stays_where_it_is(make: type[Hbo | HboReference]) -> None:
    method = make(ROWS)
    method.update(signals_for(ROWS, np.random.default_rng(7)))
    before, state = method.weights(), method.state_dict()
    method.update({"gradient_norm": np.full(3, np.inf), "perplexity_ratio": np.full((3, 3), np.nan)})
    np.testing.assert_array_equal(method.weights(), before)
    assert method.state_dict() == state


@pytest.mark.parametrize("make", [Hbo, HboReference])
def test_local_rewards_move_only_their_dataset_and_skip_empty_levels(make: type[Hbo | HboReference]) -> None:
    method = make(ROWS)
    before = method.weights()
    ratio = np.full((3, 3), np.nan)
    ratio[2] = [2, 1e9, 1]  # level 1 of dataset 2 has no rows: whatever stands there is not read
    method.update({"gradient_norm": np.full(3, np.nan), "perplexity_ratio": ratio})
    after = method.weights()
    np.testing.assert_array_equal(after[:2], before[:2])
    assert after[2].sum() == pytest.approx(before[2].sum())
    assert after[2, 0] > before[2, 0]
    assert after[2, 1] == 0
    assert after[2, 2] < before[2, 2]


@st.composite
def cells(draw: st.DrawFn) -> NDArray[np.int64]:
    """Rows of cells, some levels empty, no dataset empty."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    rows: NDArray[np.int64] = draw(hnp.arrays(np.int64, shape, elements=st.one_of(st.just(0), st.integers(0, 10**9))))
    rows[:, 0] += rows.sum(axis=1) == 0
    return rows


REWARD = st.floats(width=64)  # every one of them: NaN, infinities, zeros, negatives, subnormals
MAKERS = st.one_of(
    st.builds(
        lambda settings: lambda rows: Hbo(rows, **settings),
        st.fixed_dictionaries(
            {
                "temperature": st.floats(0.01, allow_nan=False),
                "rate": st.floats(0, 1, exclude_min=True),
                "floor": st.floats(0, 1),
                "smoothing": st.floats(0, 1, exclude_max=True),
                "strength": st.floats(0, 1000),
            }
        ),
    ),
    st.just(HboReference),
    st.builds(lambda temperature: lambda rows: Static(rows, temperature=temperature), st.floats(0.01, allow_nan=False)),
)


@settings(deadline=None, derandomize=True)
@given(data=st.data(), rows=cells(), make=MAKERS)
def test_weights_are_always_a_distribution_over_the_cells_with_rows(
    data: st.DataObject, rows: NDArray[np.int64], make: Callable[[NDArray[np.int64]], Method]
) -> None:
    method = make(rows)
    for _ in range(data.draw(st.integers(0, 3), label="updates")):
        method.update(
            {
                "gradient_norm": data.draw(hnp.arrays(np.float64, len(rows), elements=REWARD)),
                "perplexity_ratio": data.draw(hnp.arrays(np.float64, rows.shape, elements=REWARD)),
            }
        )
    weights = method.weights()
    assert weights.dtype == np.float64
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(weights > 0, rows > 0)
    np.testing.assert_array_equal(weights == 0, rows == 0)


# What is refused


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("temperature", 0, "above 0"),
        ("temperature", float("nan"), "above 0"),
        ("rate", 0, "above 0 and at most 1"),
        ("rate", 1.5, "above 0 and at most 1"),
        ("floor", -0.1, "between 0 and 1"),
        ("floor", 2, "between 0 and 1"),
        ("smoothing", 1, "at least 0 and below 1"),
        ("strength", -1, "0 or more, and finite"),
        ("strength", float("inf"), "0 or more, and finite"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(setting: str, value: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=setting) as error:
        METHODS["hbo"](ROWS, **{setting: value})
    assert str(error.value) == (
        f"`{setting}` is `{value}`, but it must be {allowed}: change it, or leave it out for its default."
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, 4], "The rows of the cells have shape `(2,)`, but it must be [datasets, levels]: reshape them."),
        ([[3, -4]], "A cell has `-4` rows, but it must have 0 or more: count them again."),
        ([[3], [0]], "Dataset number `1` has no rows, but every dataset needs at least 1: leave it out."),
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_impossible_rows_are_refused(name: str, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match="rows") as error:
        METHODS[name](np.array(rows))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("signals", "message"),
    [
        (
            {"perplexity_ratio": np.ones((3, 3))},
            "The signal `gradient_norm` is missing, but this method needs it at every update: measure it, or pass NaN.",
        ),
        (
            {"gradient_norm": np.ones(3), "perplexity_ratio": np.ones(3)},
            "The signal `perplexity_ratio` has shape `(3,)`, but it must be `(3, 3)`: pass one value for each.",
        ),
    ],
)
def test_signals_that_do_not_fit_are_refused(signals: dict[str, NDArray[np.float64]], message: str) -> None:
    with pytest.raises(ValueError, match="signal") as error:
        Hbo(ROWS).update(signals)
    assert str(error.value) == message


RESUME_METHOD = "resume with the method that the checkpoint was made with."
RESUME_DATA = "resume with the datasets and levels that the checkpoint was made with."
RESUME_BOTH = "resume with the method and the datasets that the checkpoint was made with."


@pytest.mark.parametrize(
    ("method", "state", "message"),
    [
        (
            METHODS["uniform"](ROWS),
            Hbo(ROWS).state_dict(),
            f"The saved state of the method has `global`, but a static method saves nothing: {RESUME_METHOD}",
        ),
        (
            Hbo(ROWS),
            {},
            f"The saved state of the method does not fit `3` datasets with a local actor each: {RESUME_BOTH}",
        ),
        (
            Hbo(ROWS),
            Hbo(ROWS[:2]).state_dict(),
            f"The saved state of the method does not fit `3` datasets with a local actor each: {RESUME_BOTH}",
        ),
        (
            HboReference(ROWS),
            Hbo(ROWS).state_dict(),
            f"The saved state of the method has no `logits`, so another method made it: {RESUME_METHOD}",
        ),
        (
            Hbo(column(1, 1)),
            Hbo(np.array([[1, 1], [1, 1]])).state_dict(),
            "The saved state of the method has `[0.5, 0.5]` for `weights`, but it must be 1 finite numbers: "
            + RESUME_DATA,
        ),
        (
            Hbo(column(1)),
            {"global": {"weights": [None], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[None]` for `weights`, but it must be 1 finite numbers: {RESUME_DATA}",
        ),
        (
            Hbo(column(1)),
            {"global": {"weights": [{}], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[{{}}]` for `weights`, but it must be 1 finite numbers: {RESUME_DATA}",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(method: Method, state: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="saved state") as error:
        method.load_state_dict(state)
    assert str(error.value) == message
