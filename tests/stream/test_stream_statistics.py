"""Seeded statistics of the stream: shares of cells and rows, orders of laps, orders inside blocks.

The seeds are fixed, so a test passes always or never; the bounds are those that chance exceeds once in a million.
"""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from hbo_plugin._sampler import MixtureSampler

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
CHANCE = 1e-6


def assert_uniform(counts: Counts, expected: NDArray[np.float64] | None = None) -> None:
    """Chi-square in both directions: counts too even for chance fail as well."""
    expected = np.ones(counts.shape) if expected is None else expected
    assert not counts[expected == 0].any()
    counts, expected = counts[expected > 0], expected[expected > 0]
    expected = counts.sum() * expected / expected.sum()
    chance = stats.chi2.cdf(((counts - expected) ** 2 / expected).sum(), counts.size - 1)
    assert CHANCE < chance < 1 - CHANCE


def normalised(weights: Shares) -> Shares:
    shares: Shares = weights / weights.sum(axis=1, keepdims=True)
    return shares


def laps(size: int, count: int, seed: int, length: int | None = None) -> Counts:
    """The first rows of laps of one cell, shape (count, length); laps of several cells are as good as of one."""
    length = size if length is None else length
    sampler = MixtureSampler([size], [1], seed=seed)
    return np.stack([sampler.fill(lap * size, length) for lap in range(count)])


def pair_table(one: Counts, other: Counts, size: int, bins: int) -> tuple[Counts, NDArray[np.float64]]:
    """How often pairs of distinct rows fall in pairs of bins, and how often chance has it."""
    table = np.bincount(one * bins // size * bins + other * bins // size, minlength=bins * bins)
    rows = np.bincount(np.arange(size) * bins // size, minlength=bins).astype(float)
    return table, (np.outer(rows, rows) - np.diag(rows)).ravel()


@pytest.mark.parametrize("size", range(2, 7))
def test_small_cells_have_all_orders_alike(size: int) -> None:
    orders = {order: index for index, order in enumerate(permutations(range(size)))}
    drawn = laps(size, 200 * len(orders), seed=size).tolist()
    assert_uniform(np.bincount([orders[tuple(order)] for order in drawn], minlength=len(orders)))


@pytest.mark.parametrize("size", range(1, 21))
def test_every_row_is_everywhere_in_the_epochs_of_a_small_cell(size: int) -> None:
    drawn = laps(size, 4000, seed=100 + size)
    table = np.stack([np.bincount(column, minlength=size) for column in drawn.T])
    assert (table.sum(axis=0) == 4000).all()
    if size > 1:  # each row and column sums to the number of laps: (size - 1)^2 degrees of freedom
        # A lap is a permutation matrix: sums of these vary by size / (size - 1) more than independent counts.
        statistic = ((table - 4000 / size) ** 2 / (4000 / size)).sum() * (size - 1) / size
        assert CHANCE < stats.chi2.cdf(statistic, (size - 1) ** 2) < 1 - CHANCE


@pytest.mark.parametrize("size", [7, 20, 255, 1000, 1024, 1025, 1200, 4096, 4097, 65_535, 65_537, 1_000_000])
def test_places_and_neighbours_in_laps(size: int) -> None:
    count, bins = 20_000, min(size, 16)
    length = min(size, 64)
    drawn = laps(size, count, seed=size, length=length)
    for place in (0, 1, length // 2, length - 1):
        rows = np.bincount(np.arange(size) * bins // size).astype(float)
        assert_uniform(np.bincount(drawn[:, place] * bins // size, minlength=bins), rows)
    for gap in (1, 2, length // 2):
        assert_uniform(*pair_table(drawn[:, 0], drawn[:, gap], size, bins))
        distance = (drawn[:, gap] - drawn[:, 0]) % size - 1
        steps = np.bincount(np.arange(size - 1) * (bins - 1) // (size - 1)).astype(float)
        assert_uniform(np.bincount(distance * (bins - 1) // (size - 1), minlength=bins - 1), steps)
    rising = int((np.diff(drawn[:, :2], axis=1) > 0).sum())
    assert abs(rising - count / 2) < 5 * np.sqrt(count / 4)


@pytest.mark.parametrize("size", [1025, 4097, 65_537, 1_000_000])
def test_rows_far_apart_in_laps(size: int) -> None:
    """Places whose indices differ in one half only are where a Feistel network of too few rounds shows itself."""
    half = 2 ** ((size.bit_length() + 1) // 2)
    sampler = MixtureSampler([size], [1], seed=size)
    places = [0, half, 2 * half, size // 2]
    drawn = np.array([[sampler.fill(lap * size + place, 1)[0] for place in places] for lap in range(20_000)])
    for place in (1, 2, 3):
        assert_uniform(*pair_table(drawn[:, 0], drawn[:, place], size, 16))


@pytest.mark.parametrize("size", [1025, 1100, 1500, 4097])
def test_neighbours_in_laps_are_no_neighbours_in_the_cell(size: int) -> None:
    """How often places a small distance apart hold rows that are as far apart; six rounds are seen here too."""
    drawn = laps(size, 4_000_000 // size, seed=size)
    distances = range(1, 9)
    found = sum(int((np.abs(drawn[:, far:] - drawn[:, :-far]) == far).sum()) for far in distances)
    expected = len(drawn) * sum(2 * (size - far) ** 2 / (size * (size - 1)) for far in distances)
    assert abs(found - expected) < 5 * np.sqrt(expected)


@pytest.mark.parametrize("seed", range(5))
def test_shares_with_replacement(seed: int) -> None:
    sizes, weights = [1, 5, 100, 3000], np.array([0.1, 0.5, 0.15, 0.25])
    sampler = MixtureSampler(sizes, weights, seed=seed, replacement=True)
    assert_uniform(sampler.counts(0, 300_000), weights)
    rows = np.bincount(sampler.fill(0, 300_000), minlength=sum(sizes))
    assert_uniform(rows, np.repeat(weights / sizes, sizes))


def test_draws_with_replacement_are_independent() -> None:
    """Neighbours and places far apart in the 256 words of one start, the last and the next first, and the same place."""
    drawn = MixtureSampler([16], [1], seed=3, replacement=True).fill(0, 256 * 100_000).reshape(-1, 256)
    for one, other in [(0, 1), (1, 2), (100, 101), (0, 128), (0, 255), (17, 145), (3, 200)]:
        assert_uniform(np.bincount(drawn[:, one] * 16 + drawn[:, other], minlength=256))
    for one, other in [(255, 0), (0, 0), (100, 100)]:
        assert_uniform(np.bincount(drawn[:-1, one] * 16 + drawn[1:, other], minlength=256))
    triples = drawn[:, :255].reshape(-1, 3)
    assert_uniform(np.bincount(triples @ [256, 16, 1], minlength=4096))


@pytest.mark.parametrize("seed", range(5))
def test_shares_without_replacement_are_exact(seed: int) -> None:
    weights = np.random.default_rng(seed).random(32)
    sampler = MixtureSampler([1000] * 32, weights, seed=seed)
    share = weights / weights.sum()
    for count in (256, 2560, 256_000):
        assert np.abs(sampler.counts(0, count) - count * share).max() < 1 + np.log2(count / 256 + 1)
    block = np.stack([sampler.counts(start, 256) for start in range(0, 256_000, 256)])
    assert np.abs(block - 256 * share).max() < 1


def drifting(updates: int, generator: np.random.Generator) -> Shares:
    weights = np.ones((updates, 8))
    for update in range(1, updates):
        weights[update] = weights[update - 1] ** 0.98 * np.exp(0.05 * generator.normal(size=8))
    return normalised(weights)


def erratic(updates: int, generator: np.random.Generator) -> Shares:
    return normalised(generator.gamma(2, size=(updates, 8)))


def alternating(updates: int, generator: np.random.Generator) -> Shares:
    return np.resize(erratic(2, generator), (updates, 8))


def switching(updates: int, generator: np.random.Generator) -> Shares:
    on = generator.random((updates, 8)) < 0.7
    on[:, 0] = True
    return normalised(erratic(updates, generator) * on)


@pytest.mark.parametrize("period", [1, 7, 64, 200, 256, 512, 1000, 1024])
@pytest.mark.parametrize("weights", [drifting, erratic, alternating, switching])
def test_errors_do_not_add_up_over_changes_of_weights(
    weights: Callable[[int, np.random.Generator], Shares], period: int
) -> None:
    updates = 1000
    shares = weights(updates, np.random.default_rng(period))
    sampler = MixtureSampler([1000] * 8, shares[0], seed=period)
    counts = np.empty((updates, 8))
    for update, share in enumerate(shares):
        sampler.reweight(update * period, share)
        counts[update] = sampler.counts(update * period, period)
    assert not counts[shares == 0].any()
    errors = np.cumsum(counts - period * shares, axis=0)
    typical, most = (1, 8) if period % 256 == 0 else (5, 25)
    assert np.sqrt(np.mean(errors**2)) < typical
    assert np.abs(errors).max() < most


def test_cells_come_in_any_order_inside_a_block() -> None:
    """Neighbours, and places 128 apart, where an order of too few rounds shows itself."""
    sampler = MixtureSampler([1] * 16, [1] * 16, seed=3)
    cells = sampler.fill(0, 256 * 20_000).reshape(-1, 256)
    chance = (np.full((16, 16), 16.0) - np.eye(16)).ravel()
    for one, other in [(0, 1), (1, 2), (100, 101), (254, 255), (0, 128), (17, 145), (3, 200)]:
        assert_uniform(np.bincount(cells[:, one] * 16 + cells[:, other], minlength=256), chance)


def test_segments_differ() -> None:
    """The same weights in force again draw other points: 25 rows of 400 cells, of which few may be the same."""
    sampler = MixtureSampler([1] * 400, [1] * 400, seed=3)
    uneven = np.arange(400) + 1
    for turn in range(1, 20):
        sampler.reweight(turn * 1000, uneven if turn % 2 else np.ones(400))
    starts = [sampler.fill(turn * 1000, 25).tolist() for turn in range(0, 20, 2)]
    assert len({tuple(start) for start in starts}) == 10
    assert np.mean([len(set(one) & set(other)) for one in starts for other in starts if one is not other]) < 4
