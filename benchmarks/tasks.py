"""Eight small tasks on digits, unequal in difficulty and in rows: a mixture that a small model learns in a minute."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from benchmarks.training_run import Rows

    Digits = NDArray[np.int64]

DIGITS = 10
FEWEST, MOST = 4, 9
"""Digits of a prompt."""
NOISE = "noise"
"""What nobody can learn: the answer has to do with nothing."""

TASKS: Mapping[str, Callable[[Digits], Digits]] = {
    "copy": lambda digits: digits,
    "reverse": lambda digits: digits[::-1],
    "sort": np.sort,
    "successor": lambda digits: (digits + 1) % DIGITS,
    "maximum": np.maximum.accumulate,
    "sum": lambda digits: np.cumsum(digits) % DIGITS,
    "neighbour": lambda digits: (digits + np.roll(digits, 1)) % DIGITS,
    "rotate": lambda digits: np.roll(digits, 2),
    NOISE: lambda digits: np.random.default_rng(digits.tolist()).integers(0, DIGITS, digits.size),
}
"""Answers to prompts."""
LEARNABLE = [name for name in TASKS if name != NOISE]

_TAG = DIGITS
"""The tokens that name the tasks follow the digits, each in two spellings."""
_SEPARATOR = _TAG + 2 * len(TASKS)
_END = _SEPARATOR + 1
VOCABULARY = _END + 1


def task_rows(
    name: str,
    size: int,
    rng: np.random.Generator,
    apart_from: Rows | None = None,
    *,
    wrong: float = 0,
    spelling: int = 0,
) -> Rows:
    """Different rows of a task, their labels the answers.

    Args:
        name: of the task.
        size: how many.
        rng: for the digits.
        apart_from: none of these rows is among them.
        wrong: share of answers that have to do with nothing.
        spelling: 0 or 1, of the name of the task in the prompt.
    """
    taken = {tuple(row["input_ids"]) for row in apart_from or ()}
    tag = _TAG + spelling * len(TASKS) + list(TASKS).index(name)
    rows: Rows = []
    while len(rows) < size:
        digits = rng.integers(0, DIGITS, rng.integers(FEWEST, MOST + 1))
        answer_to = TASKS[NOISE if len(rows) < wrong * size else name]
        prompt = [tag, *digits.tolist(), _SEPARATOR]
        answer = [*answer_to(digits).tolist(), _END]
        if tuple(prompt + answer) not in taken:
            taken.add(tuple(prompt + answer))
            rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows
