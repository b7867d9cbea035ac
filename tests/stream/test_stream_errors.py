"""Every mistake that a caller of the stream can make, and the whole message that answers it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hbo_plugin._sampler import MixtureSampler

Act = Callable[[], object]
END = "was given, but the stream ends at position 9007199254740992;"
GIVE_STATE = "give a state that `state_dict` returned."
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
        "`cell_sizes` for 0 cells was given, but a mixture has 1 to 65536; give the number of rows of each cell.",
    ),
    "too many cells": (
        lambda: MixtureSampler([1] * 65537, [1] * 65537, seed=1),
        "`cell_sizes` for 65537 cells was given, but a mixture has 1 to 65536; give the number of rows of each cell.",
    ),
    "a cell too large": (
        lambda: MixtureSampler([1, 2**31 + 1], [1, 1], seed=1),
        "`cell_sizes[1]=2147483649` was given, but a cell has at most 2147483648 rows; split it into several cells.",
    ),
    "a negative size": (
        lambda: MixtureSampler([1, -1], [1, 1], seed=1),
        "`cell_sizes[1]=-1` was given, but it must be a whole number from 0 to 2^31; choose one in that range.",
    ),
    "a negative seed": (
        lambda: MixtureSampler([1], [1], seed=-1),
        "`seed=-1` was given, but it must be a whole number from 0 to 2^64 - 1; choose one in that range.",
    ),
    "a seed too large": (
        lambda: MixtureSampler([1], [1], seed=2**64),
        "`seed=18446744073709551616` was given, but it must be a whole number from 0 to 2^64 - 1; choose one in that range.",
    ),
    "weights of another length": (
        lambda: MixtureSampler([5, 5], [1, 1, 1], seed=1),
        "`weights` for 3 cells was given, but the mixture has 2; give one weight for each cell.",
    ),
    "weights in a table": (
        lambda: MixtureSampler([5, 5], [[1, 1]], seed=1),
        "`weights` of shape [1, 2] was given, but they must be a flat list or array; give one number for each cell.",
    ),
    "a negative weight": (
        lambda: MixtureSampler([5, 5], [1, -0.5], seed=1),
        "`weights[1]=-0.5` was given, but a weight must be finite and 0 or more; give 0 to draw nothing from the cell.",
    ),
    "a weight that is not a number": (
        lambda: MixtureSampler([5, 5], [math.nan, 1], seed=1),
        "`weights[0]=NaN` was given, but a weight must be finite and 0 or more; give 0 to draw nothing from the cell.",
    ),
    "an infinite weight": (
        lambda: MixtureSampler([5, 5], [1, math.inf], seed=1),
        "`weights[1]=inf` was given, but a weight must be finite and 0 or more; give 0 to draw nothing from the cell.",
    ),
    "weights of 0": (
        lambda: MixtureSampler([5, 5], [0, 0], seed=1),
        "weight 0 for every cell was given, but some row must be drawn; give at least one cell a weight above 0.",
    ),
    "a weight for no rows": (
        lambda: MixtureSampler([5, 0], [1, 0.25], seed=1),
        "`weights[1]=0.25` was given, but this cell has no rows; give it weight 0.",
    ),
    "new weights for no rows": (
        lambda: sampler().reweight(20, [1, 1, 1]),
        "`weights[1]=1` was given, but this cell has no rows; give it weight 0.",
    ),
    "weights before the newest": (
        lambda: sampler().reweight(9, [1, 0, 1]),
        "`position=9` was given, but the newest weights are in force from position 10 on; change weights at 10 or later.",
    ),
    "weights beyond the end": (
        lambda: sampler().reweight(2**53 + 1, [1, 0, 1]),
        f"`position=9007199254740993` {END} give that position or an earlier one.",
    ),
    "rows beyond the end": (
        lambda: sampler().fill(2**53 - 1, 2),
        f"`position=9007199254740991, count=2` {END} ask for a range that ends there or earlier.",
    ),
    "counts beyond the end": (
        lambda: sampler().counts(2**64 - 1, 2**64 - 1),
        f"`position={2**64 - 1}, count={2**64 - 1}` {END} ask for a range that ends there or earlier.",
    ),
    "a negative position": (
        lambda: sampler().fill(-1, 2),
        "`position=-1` was given, but it must be a whole number from 0 to 2^53; choose one in that range.",
    ),
    "a negative count": (
        lambda: sampler().fill(0, -2),
        "`count=-2` was given, but it must be a whole number from 0 to 2^53; choose one in that range.",
    ),
    "rows under weights no longer kept": (
        lambda: forgetful().fill(9, 5),
        "`position=9` was given, but the oldest weights that are kept are in force from position 10 on; ask for 10 or later.",
    ),
    "counts under weights no longer kept": (
        lambda: forgetful().counts(0, 50),
        "`position=0` was given, but the oldest weights that are kept are in force from position 10 on; ask for 10 or later.",
    ),
    "weights no longer kept": (
        lambda: forgetful().weights(9),
        "`position=9` was given, but the oldest weights that are kept are in force from position 10 on; ask for 10 or later.",
    ),
    "a state of another version": (
        restore(version=2),
        '`state["version"]=2` was given, but this release reads version 1; use the release that wrote it.',
    ),
    "a state without its seed": (
        lambda: MixtureSampler.from_state_dict({key: value for key, value in STATE.items() if key != "seed"}),
        f"a `state` without `seed` was given, but this key is needed; {GIVE_STATE}",
    ),
    "a state of the wrong type": (
        restore(cell_sizes="5, 9"),
        f"`'5, 9'` under `cell_sizes` in a `state` was given, but a value of that type does not belong there; {GIVE_STATE}",
    ),
    "a state without weights": (
        restore(updates=[]),
        f'`state["updates"]=[]` was given, but a stream has weights; {GIVE_STATE}',
    ),
    "a state out of order": (
        restore(updates=STATE["updates"] * 2),
        f'`state["updates"]` with position 0 after 0 was given, but positions must rise; {GIVE_STATE}',
    ),
    "a state with too few draws": (
        restore(drawn=[0, 0]),
        f'`state["drawn"]` with 2 numbers was given, but it must have 3; {GIVE_STATE}',
    ),
    "a state with draws that replacement has not": (
        restore(replacement=True),
        f'`state["drawn"]` with 3 numbers was given, but it must have 0; {GIVE_STATE}',
    ),
    "a state with too few debts": (
        restore(owed=[0, 0]),
        f'`state["owed"]` with 2 numbers was given, but it must have 3; {GIVE_STATE}',
    ),
    "a state with draws too many": (
        restore(drawn=[1, 0, 2]),
        f'`state["drawn"]` with sum 3 was given, but the oldest update is at position 0, before which 0 rows were drawn; {GIVE_STATE}',
    ),
    "a state with draws from nowhere": (
        restore(drawn=[1, 2, 0], updates=[{"position": 3, "weights": [1, 0, 1]}]),
        f'`state["drawn"][1]=2` was given, but this cell has no rows; {GIVE_STATE}',
    ),
}


@pytest.mark.parametrize(("act", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_by_a_message(act: Act, message: str) -> None:
    with pytest.raises(ValueError, match="was given, but") as caught:
        act()
    assert str(caught.value) == message


def test_more_rows_than_memory() -> None:
    with pytest.raises(MemoryError) as caught:
        sampler().fill(0, 2**52)
    assert str(caught.value) == (
        "`count=4503599627370496` was given, but there is no memory for so many rows; ask for fewer at a time."
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
