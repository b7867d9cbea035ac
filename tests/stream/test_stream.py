"""The stream against its reference, and what it promises about rows."""

import copy
import json
import pickle
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import Schedule, stream

from hbo_plugin._sampler import MixtureSampler

Mixture = dict[str, Any]  # sizes, schedule, seed, replacement


@st.composite
def mixtures(draw: st.DrawFn, *, most_rows: int = 100_000) -> Mixture:
    """A mixture with a schedule of up to four updates in its first 900 positions."""
    cells = draw(st.integers(1, 6))
    size = st.one_of(st.integers(1, 20), st.integers(1000, 1100), st.integers(1, most_rows))
    weight = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))
    weights = st.lists(weight, min_size=cells, max_size=cells).filter(any)
    later = draw(st.sets(st.integers(1, 900), max_size=3))
    return {
        "sizes": draw(st.lists(size, min_size=cells, max_size=cells)),
        "schedule": [(position, draw(weights)) for position in [0, *sorted(later)]],
        "seed": draw(st.integers(0, 2**64 - 1)),
        "replacement": draw(st.booleans()),
    }


def make(mixture: Mixture) -> MixtureSampler:
    (_, weights), *updates = mixture["schedule"]
    sampler = MixtureSampler(mixture["sizes"], weights, seed=mixture["seed"], replacement=mixture["replacement"])
    for position, later in updates:
        sampler.reweight(position, later)
    return sampler


def cells_of(sizes: list[int], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(np.cumsum(sizes), rows, side="right")


@settings(max_examples=60)
@given(mixtures())
def test_rows_are_those_of_the_reference(mixture: Mixture) -> None:
    rows = make(mixture).fill(0, 1100)
    assert rows.dtype == np.int64
    assert rows.tolist() == stream(**mixture, count=1100)


@pytest.mark.parametrize("replacement", [False, True])
def test_the_largest_cells_and_seeds_follow_the_reference(replacement: bool) -> None:  # noqa: FBT001
    sizes = [2**31, 2**31 - 1, 2**16 + 1]
    schedule: Schedule = [(0, [1e-300, 1.0, 1e-7]), (300, [5e-324, 0.0, 1e308]), (301, [1.0, 1.0, 1.0])]
    mixture: Mixture = {"sizes": sizes, "schedule": schedule, "seed": 2**64 - 1, "replacement": replacement}
    assert make(mixture).fill(0, 700).tolist() == stream(**mixture, count=700)


@settings(max_examples=60)
@given(mixtures(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 700)), max_size=8))
def test_any_split_gives_the_same_rows(mixture: Mixture, parts: list[tuple[int, int]]) -> None:
    rows = make(mixture).fill(0, 2700)
    sampler = make(mixture)
    for position, count in parts:
        assert np.array_equal(sampler.fill(position, count), rows[position : position + count])


@settings(max_examples=60)
@given(mixtures(), st.integers(0, 2000), st.integers(0, 700))
def test_counts_are_those_of_the_rows(mixture: Mixture, position: int, count: int) -> None:
    sampler = make(mixture)
    cells = cells_of(mixture["sizes"], sampler.fill(position, count))
    counts = sampler.counts(position, count)
    assert counts.dtype == np.int64
    assert counts.tolist() == np.bincount(cells, minlength=len(mixture["sizes"])).tolist()


@settings(max_examples=60)
@given(mixtures())
def test_a_cell_of_weight_0_is_never_drawn(mixture: Mixture) -> None:
    cells = cells_of(mixture["sizes"], make(mixture).fill(0, 2000))
    schedule = mixture["schedule"]
    for (start, weights), end in zip(schedule, [*(position for position, _ in schedule[1:]), 2000], strict=True):
        assert all(weights[cell] > 0 for cell in set(cells[start:end].tolist()))


@settings(max_examples=40)
@given(mixtures(most_rows=2000))
def test_laps_cover_their_cell_and_differ(mixture: Mixture) -> None:
    mixture["replacement"] = False
    rows = make(mixture).fill(0, 20_000)
    cells = cells_of(mixture["sizes"], rows)
    for cell, size in enumerate(mixture["sizes"]):
        drawn = rows[cells == cell]
        laps = drawn[: len(drawn) // size * size].reshape(-1, size)
        assert all(len(set(lap)) == size for lap in laps.tolist())
        assert len(set(drawn[len(laps) * size :].tolist())) == len(drawn) % size
        if size >= 20:  # below, chance may repeat an order
            assert len({tuple(lap) for lap in laps.tolist()}) == len(laps)


def test_cells_without_rows_are_allowed_at_weight_0() -> None:
    sampler = MixtureSampler([0, 3, 0], [0, 1, 0], seed=1)
    assert set(sampler.fill(0, 100).tolist()) == {0, 1, 2}
    assert sampler.counts(0, 100).tolist() == [0, 100, 0]


@settings(max_examples=40)
@given(mixtures(), st.integers(0, 1500))
def test_state_copy_and_pickle_restore_the_stream(mixture: Mixture, position: int) -> None:
    sampler = make(mixture)
    rows = sampler.fill(position, 600)
    state = sampler.state_dict()
    restored = [MixtureSampler.from_state_dict(json.loads(json.dumps(state))), copy.copy(sampler)]
    restored += [copy.deepcopy(sampler)]
    restored += [pickle.loads(pickle.dumps(sampler, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for other in restored:
        assert other.state_dict() == state
        assert np.array_equal(other.fill(position, 600), rows)
        other.reweight(5000, [1.0] * len(mixture["sizes"]))
    assert sampler.state_dict() == state


def test_properties_say_what_was_given() -> None:
    sampler = MixtureSampler(
        np.array([3, 4], np.uint8), np.array([1, 3], np.float32), seed=np.int64(7), replacement=True
    )
    assert sampler.cell_sizes.tolist() == [3, 4]
    assert sampler.cell_sizes.dtype == np.int64
    assert (sampler.seed, sampler.replacement) == (7, True)
    assert sampler.weights(0).tolist() == [0.25, 0.75]


def test_weights_need_not_be_contiguous() -> None:
    table = np.arange(1.0, 7.0).reshape(3, 2)
    sampler = MixtureSampler([5, 5, 5], table[:, 0], seed=1)
    assert sampler.weights(0).tolist() == pytest.approx([1 / 9, 3 / 9, 5 / 9])


def test_weights_are_those_in_force() -> None:
    sampler = MixtureSampler([9, 9], [1, 1], seed=1)
    sampler.reweight(10, [3, 1])
    assert [sampler.weights(position).tolist() for position in (0, 9, 10, 2**53)] == [[0.5, 0.5]] * 2 + [
        [0.75, 0.25]
    ] * 2


def test_weights_that_cut_the_line_alike_leave_the_stream_alone() -> None:
    sampler = MixtureSampler([9, 99], [1, 3], seed=1)
    state = sampler.state_dict()
    sampler.reweight(50, [0.25, 0.75])
    assert sampler.state_dict() == state


def test_threads_share_a_sampler() -> None:
    mixture = {"sizes": [7, 300, 5000], "schedule": [(0, [1, 2, 3]), (777, [3, 2, 1])], "seed": 5, "replacement": False}
    rows = make(mixture).fill(0, 4000)
    sampler = make(mixture)
    starts = np.random.default_rng(1).integers(0, 3700, 400).tolist()
    with ThreadPoolExecutor(8) as pool:
        parts = pool.map(lambda start: sampler.fill(start, 300), starts)
    assert all(np.array_equal(part, rows[start : start + 300]) for start, part in zip(starts, parts, strict=True))


def test_processes_draw_the_same_rows() -> None:
    mixture = {"sizes": [7, 300, 5000], "schedule": [(0, [1, 2, 3]), (777, [3, 2, 1])], "seed": 5, "replacement": False}
    sampler = make(mixture)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        parts = list(pool.map(sampler.fill, range(0, 2000, 250), [250] * 8))
    assert np.array_equal(np.concatenate(parts), sampler.fill(0, 2000))


def test_other_threads_run_while_rows_are_drawn() -> None:
    # With a switch interval of minutes, a thread runs only while the other has let go of the interpreter by itself.
    interval = sys.getswitchinterval()
    ticks, seen = [0], [False]
    sampler = MixtureSampler([1000, 10**6], [1, 2], seed=1)

    def draw() -> None:
        for _ in range(200):
            before = ticks[0]
            sampler.fill(0, 2**20)
            if ticks[0] > before:
                seen[0] = True
                return

    thread = threading.Thread(target=draw)
    sys.setswitchinterval(600)
    try:
        thread.start()
        while thread.is_alive():
            ticks[0] += 1
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval)
    assert seen[0]
