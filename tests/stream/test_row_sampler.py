"""The torch Sampler of rows: it is the stream, ranks share it, epochs end, and a state goes on exactly."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Sampler, TensorDataset

from hbo_plugin import MixtureSampler, PackedBatchSampler, RowSampler
from hbo_plugin.rank_share import RankShare

SIZES = [5, 40, 200]
ROWS = sum(SIZES)


def mixture(*, replacement: bool = False) -> MixtureSampler:
    return MixtureSampler(SIZES, [1, 2, 1], seed=3, replacement=replacement)


def samplers(**given: Any) -> Iterator[RankShare[Any]]:
    """One of each kind."""
    yield RowSampler(mixture(), **given)
    yield PackedBatchSampler(mixture(), np.arange(1, ROWS + 1, dtype=np.int32), capacity=500, **given)


@given(ranks=st.integers(1, 9), replacement=st.booleans())
def test_ranks_together_take_the_stream(ranks: int, *, replacement: bool) -> None:
    shares = [RowSampler(mixture(replacement=replacement), rank=rank, ranks=ranks) for rank in range(ranks)]
    turns = list(islice(zip(*shares, strict=True), 70))
    assert list(chain.from_iterable(turns)) == mixture(replacement=replacement).fill(0, 70 * ranks).tolist()
    assert {share.head for share in shares} == {70 * ranks}


@given(taken=st.integers(0, 500), before=st.integers(1, 5), after=st.integers(1, 5))
def test_a_state_goes_on_exactly_with_any_number_of_ranks(taken: int, before: int, after: int) -> None:
    first = RowSampler(mixture(), rank=before - 1, ranks=before)
    list(islice(first, taken))
    state = json.loads(json.dumps(first.state_dict()))
    shares = [RowSampler(mixture(), rank=rank, ranks=after) for rank in range(after)]
    for share in shares:
        share.load_state_dict(state)
    rows = list(chain.from_iterable(islice(zip(*shares, strict=True), 20)))
    assert rows == mixture().fill(taken * before, 20 * after).tolist()


def test_new_weights_act_from_the_next_row_on() -> None:
    sampler = RowSampler(mixture())
    assert list(islice(sampler, 30)) == mixture().fill(0, 30).tolist()
    sampler.mixture.reweight(sampler.head, [0, 0, 1])
    assert min(islice(sampler, 300)) == 45


@pytest.mark.parametrize("kind", [0, 1])
def test_an_epoch_ends_and_the_next_goes_on(kind: int) -> None:
    endless = list(islice(list(samplers())[kind], 21))
    sampler = list(samplers(per_epoch=7))[kind]
    assert len(sampler) == 7
    assert [list(sampler) for _ in range(2)] == [endless[:7], endless[7:14]]
    assert list(islice(sampler, 3)) == endless[14:17]
    resumed = list(samplers(per_epoch=7))[kind]
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == endless[17:]


@pytest.mark.parametrize("kind", [0, 1])
def test_an_epoch_of_several_ranks_has_so_many_items_of_each(kind: int) -> None:
    sampler = list(samplers(per_epoch=7, rank=1, ranks=3))[kind]
    assert list(sampler) == list(islice(list(samplers())[kind], 1, 21, 3))
    assert len(list(sampler)) == 7


@pytest.mark.parametrize("kind", [0, 1])
def test_an_endless_sampler_has_no_length(kind: int) -> None:
    message = "`per_epoch=None` was given, but a sampler without an end has no length; give a number."
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        len(list(samplers())[kind])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"per_epoch": 0},
            "`per_epoch=0` was given, but an epoch has at least 1 row or batch; give such a number, or None for an epoch without an end.",
        ),
        *(
            (
                {"rank": rank, "ranks": 2},
                f"`rank={rank}` was given, but with `ranks=2` a rank is from 0 to 1; give `torch.distributed.get_rank()` and `get_world_size()`.",
            )
            for rank in (-1, 2)
        ),
        ({"ranks": 0}, "`ranks=0` was given, but at least 1 rank trains; give `torch.distributed.get_world_size()`."),
    ],
)
def test_what_makes_no_sampler(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        RowSampler(mixture(), **given)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"version": 2, "head": 0},
            '`state["version"]` is `2`, and here it is 1; give what the run gave that wrote the state, or start afresh.',
        ),
        (
            {"version": 1, "head": -1},
            '`state["head"]` is `-1`, and it is a whole number from 0 on; give a state that `state_dict` returned.',
        ),
        (
            {"version": 1},
            '`state["head"]` is `None`, and it is a whole number from 0 on; give a state that `state_dict` returned.',
        ),
    ],
)
def test_what_is_no_state(state: dict[str, Any], message: str) -> None:
    sampler = RowSampler(mixture())
    list(islice(sampler, 9))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sampler.load_state_dict(state)
    assert sampler.head == 9


def test_it_is_a_sampler_of_torch() -> None:
    assert isinstance(RowSampler(mixture()), Sampler)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [3, 8, 10])
@pytest.mark.parametrize("packed", [False, True])
def test_a_stateful_loader_goes_on_exactly(stop: int, workers: int, *, packed: bool) -> None:
    """With workers that fetch ahead, in the middle of an epoch, at its last batch, and after its end."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        rows, batches = samplers(per_epoch=8)
        how = {"batch_sampler": batches} if packed else {"sampler": rows, "batch_size": 2}
        return torchdata.StatefulDataLoader(list(range(ROWS)), **how, num_workers=workers, collate_fn=list)

    whole = loader()
    epoch = 8 if packed else 4
    expected = [list(whole) for _ in range(4)]
    assert [len(batches) for batches in expected] == [epoch] * 4
    first = loader()
    seen: list[Any] = []
    while len(seen) < stop:
        for batch in first:
            seen.append(batch)
            if len(seen) == stop:
                state = first.state_dict()
                break
    resumed = loader()
    resumed.load_state_dict(state)
    rest = [list(resumed) for _ in range(2)]
    done, given = divmod(stop - 1, epoch)
    assert rest == [expected[done][given + 1 :], expected[done + 1]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_a_stateful_loader_that_was_saved_between_epochs_begins_the_next(workers: int, *, packed: bool) -> None:
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        rows, batches = samplers(per_epoch=8)
        how = {"batch_sampler": batches} if packed else {"sampler": rows, "batch_size": 2}
        return torchdata.StatefulDataLoader(list(range(ROWS)), **how, num_workers=workers, collate_fn=list)

    first, resumed = loader(), loader()
    list(first)
    resumed.load_state_dict(first.state_dict())
    assert list(resumed) == list(first)


def test_new_weights_that_were_set_while_workers_fetch_ahead_come_back() -> None:
    """A loader's state is older than the change; the mixture's has it, and says from where on it acts."""
    torchdata = pytest.importorskip("torchdata.stateful_dataloader")

    def loader(stream: MixtureSampler) -> Any:
        return torchdata.StatefulDataLoader(
            list(range(ROWS)), sampler=RowSampler(stream), batch_size=2, num_workers=2, collate_fn=list
        )

    stream = mixture()
    first = loader(stream)
    batches = iter(first)
    list(islice(batches, 5))
    head = first.sampler.head
    assert head > 10
    stream.reweight(head, [0, 0, 1])
    state = json.loads(json.dumps([first.state_dict(), stream.state_dict()]))
    expected = list(islice(batches, 50))
    assert min(chain.from_iterable(expected[(head - 10) // 2 :])) >= 45
    resumed = loader(MixtureSampler.from_state_dict(state[1]))
    resumed.load_state_dict(state[0])
    assert list(islice(resumed, 50)) == expected


def test_a_plain_loader_without_workers_is_never_ahead() -> None:
    sampler = RowSampler(mixture())
    for number, _ in enumerate(islice(DataLoader(TensorDataset(torch.arange(ROWS)), 4, sampler=sampler), 5), 1):
        assert sampler.head == 4 * number


@pytest.mark.parametrize(
    ("name", "absent"), [("RowSampler", ["axolotl", "transformers"]), ("PackedBatchSampler", ["axolotl", "torch"])]
)
def test_importing_a_sampler_imports_little(name: str, absent: list[str]) -> None:
    program = f"import sys; from hbo_plugin import {name}; print([each for each in {absent} if each in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
