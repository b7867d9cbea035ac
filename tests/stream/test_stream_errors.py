"""Every mistake that a caller of the stream can make, and the whole sentence that answers it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hbo_plugin._sampler import MixtureSampler

Act = Callable[[], object]
END = "and the stream ends at position 9007199254740992; ask for a range that ends there or before."
STATE: dict[str, Any] = MixtureSampler([5, 0, 9], [1, 0, 3], seed=1).state_dict()


def sampler() -> MixtureSampler:
    made = MixtureSampler([5, 0, 9], [1, 0, 3], seed=1)
    made.reweight(10, [2, 0, 1])
    return made


def forgetful() -> MixtureSampler:
    made = MixtureSampler([1] * 8192, [1] * 8192, seed=1)
    for turn in range(1, 65):
        made.reweight(turn * 10, np.arange(8192) % (turn + 1))
    return made


def restore(**changes: object) -> Act:
    return lambda: MixtureSampler.from_state_dict({**STATE, **changes})


MISTAKES: dict[str, tuple[Act, str]] = {
    "no cells": (
        lambda: MixtureSampler([], [], seed=1),
        "`cell_sizes` has `0` cells, and a sampler has 1 to 65536; give the number of rows of each cell.",
    ),
    "too many cells": (
        lambda: MixtureSampler([1] * 65537, [1] * 65537, seed=1),
        "`cell_sizes` has `65537` cells, and a sampler has 1 to 65536; give the number of rows of each cell.",
    ),
    "a cell too large": (
        lambda: MixtureSampler([1, 2**31 + 1], [1, 1], seed=1),
        "Cell 1 has `2147483649` rows, and a cell has at most 2147483648; split it into several cells.",
    ),
    "a negative size": (
        lambda: MixtureSampler([1, -1], [1, 1], seed=1),
        "`cell_sizes[1]` is `-1`, and it is a whole number from 0 to 2^31; give such a number.",
    ),
    "a negative seed": (
        lambda: MixtureSampler([1], [1], seed=-1),
        "`seed` is `-1`, and it is a whole number from 0 to 2^64 - 1; give such a number.",
    ),
    "a seed too large": (
        lambda: MixtureSampler([1], [1], seed=2**64),
        "`seed` is `18446744073709551616`, and it is a whole number from 0 to 2^64 - 1; give such a number.",
    ),
    "weights of another length": (
        lambda: MixtureSampler([5, 5], [1, 1, 1], seed=1),
        "`weights` has `3` numbers for 2 cells; give one weight for each cell.",
    ),
    "weights in a table": (
        lambda: MixtureSampler([5, 5], [[1, 1]], seed=1),
        "`weights` has shape `[1, 2]`, and it is a list or array of one number a cell; give it flat.",
    ),
    "a negative weight": (
        lambda: MixtureSampler([5, 5], [1, -0.5], seed=1),
        "The weight of cell 1 is `-0.5`, and a weight is finite and at least 0; give such a number.",
    ),
    "a weight that is not a number": (
        lambda: MixtureSampler([5, 5], [math.nan, 1], seed=1),
        "The weight of cell 0 is `NaN`, and a weight is finite and at least 0; give such a number.",
    ),
    "an infinite weight": (
        lambda: MixtureSampler([5, 5], [1, math.inf], seed=1),
        "The weight of cell 1 is `inf`, and a weight is finite and at least 0; give such a number.",
    ),
    "weights of 0": (
        lambda: MixtureSampler([5, 5], [0, 0], seed=1),
        "Every one of the `weights` is `0`, and some row must be drawn; give at least one cell a weight above 0.",
    ),
    "a weight for no rows": (
        lambda: MixtureSampler([5, 0], [1, 0.25], seed=1),
        "The weight of cell 1 is `0.25`, and the cell has no rows to draw; give it weight 0.",
    ),
    "new weights for no rows": (
        lambda: sampler().reweight(20, [1, 1, 1]),
        "The weight of cell 1 is `1`, and the cell has no rows to draw; give it weight 0.",
    ),
    "weights before the newest": (
        lambda: sampler().reweight(9, [1, 0, 1]),
        "`position` is `9`, and weights change where the newest came into force or later; give 10 or more.",
    ),
    "weights beyond the end": (
        lambda: sampler().reweight(2**53 + 1, [1, 0, 1]),
        f"`position` is `9007199254740993` and `count` is `0`, {END}",
    ),
    "rows beyond the end": (
        lambda: sampler().fill(2**53 - 1, 2),
        f"`position` is `9007199254740991` and `count` is `2`, {END}",
    ),
    "counts beyond the end": (
        lambda: sampler().counts(2**64 - 1, 2**64 - 1),
        f"`position` is `18446744073709551615` and `count` is `18446744073709551615`, {END}",
    ),
    "a negative position": (
        lambda: sampler().fill(-1, 2),
        "`position` is `-1`, and it is a whole number from 0 to 2^53; give such a number.",
    ),
    "a negative count": (
        lambda: sampler().fill(0, -2),
        "`count` is `-2`, and it is a whole number from 0 to 2^53; give such a number.",
    ),
    "rows under weights no longer kept": (
        lambda: forgetful().fill(9, 5),
        "`position` is `9`, and the oldest weights that are kept came into force at 10; ask for 10 or later.",
    ),
    "counts under weights no longer kept": (
        lambda: forgetful().counts(0, 50),
        "`position` is `0`, and the oldest weights that are kept came into force at 10; ask for 10 or later.",
    ),
    "weights no longer kept": (
        lambda: forgetful().weights(9),
        "`position` is `9`, and the oldest weights that are kept came into force at 10; ask for 10 or later.",
    ),
    "a state of another version": (
        restore(version=2),
        '`state["version"]` is `2`, and this release reads 1; use the release that wrote it.',
    ),
    "a state without its seed": (
        lambda: MixtureSampler.from_state_dict({key: value for key, value in STATE.items() if key != "seed"}),
        "`state` has no key `seed`; give a state that `state_dict` returned.",
    ),
    "a state of the wrong type": (
        restore(cell_sizes="5, 9"),
        "`state` has `5, 9` under `cell_sizes`, which is not what belongs there; give a state that `state_dict` returned.",
    ),
    "a state without weights": (
        restore(updates=[]),
        '`state["updates"]` is `[]`, and a sampler has weights; give a state that `state_dict` returned.',
    ),
    "a state out of order": (
        restore(updates=STATE["updates"] * 2),
        '`state["updates"]` has position `0` after 0, and positions rise; give a state that `state_dict` returned.',
    ),
    "a state with too few draws": (
        restore(drawn=[0, 0]),
        '`state["drawn"]` has `2` numbers where 3 belong; give a state that `state_dict` returned.',
    ),
    "a state with draws that replacement has not": (
        restore(replacement=True),
        '`state["drawn"]` has `3` numbers where 0 belong; give a state that `state_dict` returned.',
    ),
    "a state with draws too many": (
        restore(drawn=[1, 0, 2]),
        '`state["drawn"]` sums to `3`, and the oldest update is at position 0; give a state that `state_dict` returned.',
    ),
    "a state with draws from nowhere": (
        restore(drawn=[1, 2, 0], updates=[{"position": 3, "weights": [1, 0, 1]}]),
        '`state["drawn"]` has `2` draws of cell 1, which has no rows; give a state that `state_dict` returned.',
    ),
}


@pytest.mark.parametrize(("act", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_by_a_sentence(act: Act, sentence: str) -> None:
    with pytest.raises(ValueError, match="`") as caught:
        act()
    assert str(caught.value) == sentence


def test_more_rows_than_memory() -> None:
    with pytest.raises(MemoryError) as caught:
        sampler().fill(0, 2**52)
    assert str(caught.value) == (
        "`count` is `4503599627370496`, and there is no memory for so many rows; ask for fewer at a time."
    )


@pytest.mark.parametrize(
    "act",
    [
        lambda: MixtureSampler([1.5], [1], seed=1),  # type: ignore[list-item]
        lambda: MixtureSampler([1], ["one"], seed=1),
        lambda: MixtureSampler([1], [1], seed="1"),  # type: ignore[arg-type]
        lambda: sampler().fill(0.0, 1),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_number_is_refused(act: Act) -> None:
    with pytest.raises((TypeError, ValueError)):
        act()


def test_a_mistake_leaves_the_sampler_as_it_was() -> None:
    made = sampler()
    state, rows = made.state_dict(), made.fill(0, 100)
    for mistake in (
        lambda: made.reweight(50, [1, 1, 1]),
        lambda: made.fill(2**53, 1),
        lambda: made.reweight(0, [1, 0, 1]),
    ):
        with pytest.raises(ValueError, match="`"):
            mistake()
    assert made.state_dict() == state
    assert np.array_equal(made.fill(0, 100), rows)
