"""Packing: what is in every bin, that nothing is lost or doubled, and that a run can stop after any batch."""

import json
import re
import tracemalloc
from collections.abc import Iterable
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from packing_reference import ReferencePacker

from hbo_plugin import MixtureSampler, PackedBatchSampler
from hbo_plugin.bench.packing_data import SETS as LENGTH_SETS

SIZES = [5, 0, 40, 200]
ROWS = sum(SIZES)


def mixture(*, seed: int = 3, replacement: bool = False) -> MixtureSampler:
    return MixtureSampler(SIZES, [1, 0, 2, 1], seed=seed, replacement=replacement)


def random_lengths(most: int = 100, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(1, most + 1, ROWS, np.int32)


def flat(batches: Iterable[list[int]]) -> list[int]:
    return [row for rows in batches for row in rows]


packings = st.fixed_dictionaries({"capacity": st.integers(100, 400), "window": st.integers(1, 80)})


@settings(max_examples=50)
@given(given=packings, most=st.integers(10, 100), seed=st.integers(0, 9), replacement=st.booleans())
def test_every_bin_is_the_references(given: dict[str, int], most: int, seed: int, *, replacement: bool) -> None:
    lengths = random_lengths(most, seed)
    stream = mixture(seed=seed, replacement=replacement)
    sampler = PackedBatchSampler(stream, lengths, **given)
    rows = mixture(seed=seed, replacement=replacement).fill(0, 5_000).tolist()
    reference = ReferencePacker(rows.__getitem__, lengths, given["capacity"], given["window"])
    for rows_of_bin in islice(sampler, 40):
        assert rows_of_bin == reference.fill()
        assert (sampler.head, sampler.waiting) == (reference.head, len(reference.waiting))


@settings(max_examples=50)
@given(packings)
def test_nothing_is_lost_or_doubled_late_or_too_long(given: dict[str, int]) -> None:
    lengths = random_lengths()
    sampler = PackedBatchSampler(mixture(), lengths, **given)
    drawn_in: dict[int, int] = {}
    positions: dict[int, list[int]] = {}
    head = 0
    stream = mixture()
    for number, rows in enumerate(islice(sampler, 100)):
        for position, row in enumerate(stream.fill(head, sampler.head - head).tolist(), head):
            drawn_in[position] = number
            positions.setdefault(row, []).append(position)
        head = sampler.head
        assert 0 < lengths[rows].sum() <= given["capacity"]
        for row in rows:
            assert number - drawn_in.pop(positions[row].pop(0)) < given["window"] + 1
    assert len(drawn_in) == sampler.waiting <= given["window"]


def test_laps_stay_exact() -> None:
    sampler = PackedBatchSampler(MixtureSampler([ROWS], [1], seed=0), random_lengths(), capacity=256, window=16)
    taken = np.zeros(ROWS, int)
    for batch in islice(sampler, 200):
        np.add.at(taken, batch, 1)
    waiting = np.bincount(sampler.state_dict()["waiting"], minlength=ROWS)
    laps, rest = divmod(sampler.head, ROWS)
    assert laps >= 2
    assert set(taken + waiting) == {laps, laps + (rest > 0)}


@settings(max_examples=50)
@given(packings, st.integers(0, 30))
def test_a_state_taken_after_any_batch_goes_on_as_the_sampler_did(given: dict[str, int], batches: int) -> None:
    sampler = PackedBatchSampler(mixture(), random_lengths(), **given)
    list(islice(sampler, batches))
    state = json.loads(json.dumps(sampler.state_dict()))
    expected = list(islice(sampler, 10))
    restored = PackedBatchSampler(mixture(), random_lengths(), **given)
    restored.load_state_dict(state)
    assert restored.state_dict() == state
    assert list(islice(restored, 10)) == expected
    assert restored.state_dict() == sampler.state_dict()


def test_a_loader_that_looks_ahead_can_save_the_batch_before() -> None:
    sampler = PackedBatchSampler(mixture(), random_lengths(), capacity=300)
    states, batches = [], []
    for batch in islice(sampler, 8):
        states.append(sampler.state_dict())
        batches.append(batch)
    for done in range(7):
        restored = PackedBatchSampler(mixture(), random_lengths(), capacity=300)
        restored.load_state_dict(states[done])
        assert next(iter(restored)) == batches[done + 1]


def test_an_epoch_has_so_many_batches_and_the_next_goes_on() -> None:
    packed = {"capacity": 300, "window": 20}
    endless = list(islice(PackedBatchSampler(mixture(), random_lengths(), **packed), 15))
    sampler = PackedBatchSampler(mixture(), random_lengths(), per_epoch=5, **packed)
    assert len(sampler) == 5
    assert [list(sampler) for _ in range(3)] == [endless[:5], endless[5:10], endless[10:]]
    assert sampler.given == 15
    list(islice(sampler, 2))
    resumed = PackedBatchSampler(mixture(), random_lengths(), per_epoch=5, **packed)
    resumed.load_state_dict(sampler.state_dict())
    assert len(list(resumed)) == 3


def test_new_weights_act_on_all_later_draws_and_on_no_earlier() -> None:
    stream = mixture()
    lengths = random_lengths(60)
    sampler = PackedBatchSampler(stream, lengths, capacity=256, window=64)
    before = list(islice(sampler, 30))
    head, waiting = sampler.head, sampler.state_dict()["waiting"]
    stream.reweight(head, [0, 0, 0, 1])
    after = flat(islice(sampler, 30))
    assert before == list(islice(PackedBatchSampler(mixture(), lengths, capacity=256, window=64), 30))
    for row in waiting:
        after.remove(row)
    assert after
    assert min(after) >= SIZES[0] + SIZES[2]
    assert sorted([*after, *sampler.state_dict()["waiting"]]) == sorted(stream.fill(head, sampler.head - head).tolist())


def test_a_restored_mixture_takes_the_place_of_the_first() -> None:
    sampler = PackedBatchSampler(mixture(seed=1), random_lengths(), capacity=256)
    sampler.mixture = mixture(seed=2)
    expected = PackedBatchSampler(mixture(seed=2), random_lengths(), capacity=256)
    assert list(islice(sampler, 5)) == list(islice(expected, 5))


def test_rows_as_long_as_the_capacity_have_a_bin_each() -> None:
    sampler = PackedBatchSampler(mixture(), np.full(ROWS, 64, np.int32), capacity=64, window=1)
    assert list(islice(sampler, 15)) == mixture().fill(0, 15)[:, None].tolist()


def test_lengths_are_shared() -> None:
    lengths = np.ones(10**6, np.int32)
    stream = MixtureSampler([10**6], [1], seed=0)
    tracemalloc.start()
    sampler = PackedBatchSampler(stream, lengths, capacity=4)
    next(iter(sampler))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**5
    lengths[:] = 2
    assert {len(rows) for rows in islice(sampler, 20)} >= {2}


@settings(max_examples=30)
@given(given=packings, ranks=st.integers(1, 5))
def test_ranks_together_take_the_batches_of_one_process(given: dict[str, int], ranks: int) -> None:
    """And each knows where all of them stand."""
    whole = PackedBatchSampler(mixture(), random_lengths(), **given)
    shares = [PackedBatchSampler(mixture(), random_lengths(), **given, rank=rank, ranks=ranks) for rank in range(ranks)]
    for turn in islice(zip(*shares, strict=True), 10):
        assert list(turn) == list(islice(whole, ranks))
        assert [share.state_dict() for share in shares] == [whole.state_dict()] * ranks


def test_other_ranks_go_on_with_the_state_of_one() -> None:
    whole = PackedBatchSampler(mixture(), random_lengths(), capacity=300)
    list(islice(whole, 7))
    shares = [PackedBatchSampler(mixture(), random_lengths(), capacity=300, rank=rank, ranks=2) for rank in range(2)]
    for share in shares:
        share.load_state_dict(whole.state_dict())
    turns = zip(*(islice(share, 5) for share in shares), strict=True)
    assert list(chain.from_iterable(turns)) == list(islice(whole, 10))


def test_functions_of_the_standard_library_fill_their_bins() -> None:
    tokens = LENGTH_SETS["instructions"].lengths(1000)
    sampler = PackedBatchSampler(MixtureSampler([1000], [1], seed=0), tokens, capacity=2048)
    batches = list(islice(sampler, 400))
    assert tokens[flat(batches)].sum() > 0.999 * 400 * 2048


GIVE_STATE = "give a state that `state_dict` returned."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"capacity": 0},
            "`capacity=0` was given, but it must be a whole number from 1 to 1048576; choose one in that range.",
        ),
        (
            {"capacity": -1},
            "`capacity=-1` was given, but it must be a whole number from 1 to 1048576; choose one in that range.",
        ),
        (
            {"window": 1025},
            "`window=1025` was given, but it must be a whole number from 1 to 1024; choose one in that range.",
        ),
        (
            {"per_epoch": 0},
            "`per_epoch=0` was given, but an epoch has at least 1 row or batch; give such a number, or None for an epoch without an end.",
        ),
        (
            {"lengths": np.ones(3, np.int32)},
            "`lengths` for 3 rows was given, but the mixture has 245; give one length for each row.",
        ),
        (
            {"lengths": np.arange(ROWS, dtype=np.int32)},
            "`lengths[0]=0` was given, but a row needs at least 1 token to be packed; drop such rows.",
        ),
        (
            {"lengths": np.arange(99, 99 + ROWS, dtype=np.int32)},
            "`lengths[202]=301` was given, but a bin holds 300 tokens; drop or truncate such rows, or give a larger `capacity`.",
        ),
        *(
            (
                {"lengths": lengths},
                f"`lengths` as {described} was given, but it must be a flat contiguous int32 array, because it is shared and not copied; give `numpy.ascontiguousarray(lengths, numpy.int32).ravel()`.",
            )
            for lengths, described in [
                (np.ones(ROWS, np.int64), "array of int64 with shape [245]"),
                (np.ones((ROWS, 1), np.int32), "array of int32 with shape [245, 1]"),
                (np.ones(2 * ROWS, np.int32)[::2], "array of int32 with shape [245]"),
                ([1, 2], "list"),
            ]
        ),
    ],
)
def test_what_makes_no_sampler(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        PackedBatchSampler(mixture(), **{"lengths": random_lengths(), "capacity": 300, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"version": 2},
            '`state["version"]` is `2`, and here it is 1; give what the run gave that wrote the state, or start afresh.',
        ),
        (
            {"capacity": 299},
            '`state["capacity"]` is `299`, and here it is 300; give what the run gave that wrote the state, or start afresh.',
        ),
        (
            {"window": 65},
            '`state["window"]` is `65`, and here it is 64; give what the run gave that wrote the state, or start afresh.',
        ),
        ({"bins": -1}, f'`state["bins"]` is `-1`, and it is a whole number from 0 on; {GIVE_STATE}'),
        (
            {"head": 2**53 + 1},
            f'`state["head"]={2**53 + 1}` was given, but the stream ends at position {2**53}; {GIVE_STATE}',
        ),
        (
            {"head": "x"},
            f"`'x'` under `head` in a `state` was given, but a value of that type does not belong there; {GIVE_STATE}",
        ),
        ({"head": 2}, f'`state["waiting"]` with 3 rows was given, but at most 2 can wait there; {GIVE_STATE}'),
        (
            {"waiting": [1] * 65},
            f'`state["waiting"]` with 65 rows was given, but at most 64 can wait there; {GIVE_STATE}',
        ),
        (
            {"waiting": [-1]},
            "row -1 was given, but there are `lengths` for 245 rows; use the mixture, the lengths and the state of one run.",
        ),
    ],
)
def test_what_is_no_state(changes: dict[str, Any], message: str) -> None:
    sampler = PackedBatchSampler(mixture(), random_lengths(), capacity=300)
    list(islice(sampler, 2))
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sampler.load_state_dict({**before, "head": 100, "waiting": [1, 2, 3], **changes})
    assert sampler.state_dict() == before


@pytest.mark.parametrize("key", ["version", "capacity", "window", "bins", "head", "waiting"])
def test_no_key_of_a_state_may_be_missing(key: str) -> None:
    sampler = PackedBatchSampler(mixture(), random_lengths(), capacity=300)
    state = sampler.state_dict()
    del state[key]
    with pytest.raises(ValueError, match=f"`{key}`|{key}"):
        sampler.load_state_dict(state)
