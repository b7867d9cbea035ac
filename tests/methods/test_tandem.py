"""Tandem against calculations of its own."""

from __future__ import annotations

import numpy as np
import pytest
from method_cases import TARGET, column, make
from scipy import optimize

from hbo_plugin.methods.published.tandem import _project

ROWS = column(60, 30, 10)
PRIOR = np.array([0.6, 0.3, 0.1])
SHARES = [*TARGET.values()]
FIRST = np.array([[1.0, 0.2], [0.4, 0.1], [-0.5, 0.6]])
SECOND = np.array([[0.6, np.nan], [0.2, 0.3], [0.1, 0.4]])
NOISE = np.array([[0.01, 0.02], [0.04, 0.01], [0.02, 0.03]])


def tilted(transfer: list[float], variance: list[float], exponent: float) -> list[float]:
    """One set's pull: the prior times the exponential of what is more than noise."""
    mean = sum(transfer) / len(transfer)
    spread = sum((each - mean) ** 2 for each in transfer) / (len(transfer) - 1)
    between = max(0.0, spread - sum(variance) / len(variance))
    shrunk = [(each - mean) * between / (between + noise) for each, noise in zip(transfer, variance, strict=True)]
    odds = [prior * np.exp(exponent * each) for prior, each in zip(PRIOR, shrunk, strict=True)]
    return [each / sum(odds) for each in odds]


def test_each_set_pulls_by_its_share_as_far_as_transfers_are_more_than_noise() -> None:
    method = make("tandem", ROWS, prior="proportional", ema_decay=0.75, exponent=2.0, floor=0.1)
    np.testing.assert_allclose(method.weights()[:, 0], PRIOR)
    for transfer in (FIRST, SECOND):
        method.update({"transfer": transfer, "transfer_variance": np.where(np.isnan(transfer), np.nan, NOISE)})
    average = 0.75 * FIRST + 0.25 * SECOND
    average[0, 1] = FIRST[0, 1]
    variance = (0.75**2 + 0.25**2) * NOISE
    variance[0, 1] = NOISE[0, 1]
    pulls = [tilted([*average[:, each]], [*variance[:, each]], 2.0) for each in range(2)]
    wanted = 0.9 * (SHARES[0] * np.array(pulls[0]) + SHARES[1] * np.array(pulls[1])) + 0.1 * PRIOR
    np.testing.assert_allclose(method.weights()[:, 0], wanted)


def test_differences_that_are_noise_do_not_count() -> None:
    method = make("tandem", ROWS, prior="proportional")
    method.update({"transfer": FIRST, "transfer_variance": np.full(FIRST.shape, 9.0)})
    np.testing.assert_allclose(method.weights()[:, 0], PRIOR)


def test_a_set_that_was_never_measured_pulls_to_the_prior() -> None:
    one, both = (make("tandem", ROWS, prior="proportional", floor=0.0) for _ in range(2))
    unmeasured = np.array([[np.nan, 0], [np.nan, 0], [np.nan, 0]])
    one.update({"transfer": FIRST + unmeasured[:, ::-1], "transfer_variance": NOISE})
    both.update({"transfer": FIRST, "transfer_variance": NOISE})
    pull = np.array(tilted([*FIRST[:, 0]], [*NOISE[:, 0]], 3.0))
    np.testing.assert_allclose(one.weights()[:, 0], SHARES[0] * pull + SHARES[1] * PRIOR)
    assert np.abs(both.weights() - one.weights()).max() > 0.01


def test_the_published_form_projects() -> None:
    method = make("tandem", ROWS, published=True, step_size=0.5)
    np.testing.assert_allclose(method.weights()[:, 0], 1 / 3)
    method.update({"copy_gain": FIRST})
    moved = 1 / 3 + 0.5 * FIRST @ SHARES
    np.testing.assert_allclose(method.weights()[:, 0], nearest(moved), atol=2e-6)


def nearest(values: np.ndarray) -> np.ndarray:
    """The nearest distribution, by bisection for what is taken off each."""
    excess = optimize.brentq(lambda off: np.maximum(values - off, 0).sum() - 1, values.min() - 1, values.max())
    return np.asarray(np.maximum(values - excess, 0))


@pytest.mark.parametrize("seed", range(5))
def test_a_projection_is_the_nearest_distribution(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=6)
    found = _project(values)
    assert found.sum() == pytest.approx(1)
    np.testing.assert_allclose(found, nearest(values), atol=1e-5)
