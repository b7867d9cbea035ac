"""What ranks compare, without starting any."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hbo_plugin.ranks import Ranks  # noqa: E402
from hbo_plugin.training.rank_check import RankCheck  # noqa: E402

WEIGHTS = np.array([0.5, 0.5])


def check(gather: Any, *fingerprints: str) -> RankCheck:
    """The check of rank 0 of four, where this function gathers."""
    return RankCheck(Ranks(0, 4, SimpleNamespace(device="cpu", gather=gather)), fingerprints)


def test_it_names_who_differs_in_what() -> None:
    def gather(own: Any) -> Any:
        ranks = own.repeat(4, 1)
        ranks[1, 2] += 1
        ranks[2:, 1] -= 5
        ranks[3, 3:] = ~ranks[3, 3:]
        return ranks

    with pytest.raises(RuntimeError) as error:
        check(gather).compare(7, WEIGHTS, 60)
    assert str(error.value) == (
        "after step 7, the weights of ranks 2, 3 and the head of the stream of rank 1 and the rows of rank 3 and the "
        "data of rank 3 differ from rank 0's, but all ranks must train on one mixture; give every rank the same "
        "configuration, data, checkpoint and versions, and resume."
    )


def test_every_weight_and_every_row_counts() -> None:
    gathered = []

    def agree(own: Any) -> Any:
        gathered.append(own[0].tolist())
        assert own.dtype == torch.int64
        return own.repeat(4, 1)

    ranks = check(agree)
    ranks.compare(7, WEIGHTS, 60)
    ranks.compare(7, np.array([0.5, np.nextafter(0.5, 1)]), 60)
    ranks.count(np.array([3, 4]))
    ranks.compare(7, WEIGHTS, 60)
    assert [len({values[column] for values in gathered}) for column in range(4)] == [1, 2, 1, 2]


def test_each_dataset_s_rows_count_in_their_order() -> None:
    gathered = []

    def agree(own: Any) -> Any:
        gathered.append(own[0].tolist()[-1])
        return own.repeat(4, 1)

    for fingerprints in (("a", "b"), ("a", "b"), ("a", "c"), ("b", "a"), ("ab",)):
        check(agree, *fingerprints).compare(1, WEIGHTS, 4)
    assert gathered[0] == gathered[1]
    assert len(set(gathered)) == 4


def test_a_process_alone_compares_nothing() -> None:
    RankCheck(Ranks(), ()).compare(8, WEIGHTS, 0)  # without an accelerator, gathering would fail
