"""Two targets with few rows, their helpers, sets that have nothing to do with them, and a decoy: short questions in words.

A helper is the task of a target with other words, or in another range. The decoy has the form of a target's answers, and
nobody can learn it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.training_run import Rows

    Encode = Callable[[str], list[int]]
    """The tokens of a text."""
    Task = Callable[[np.random.Generator], tuple[str, str]]
    """A question and its answer, drawn at random."""

TARGET_ROWS = 60
OTHER_ROWS = 1500
HELD_OUT = 100
"""Rows of each target: one half to steer by, one to judge by."""
HELPERS: Mapping[str, str] = {"backwards": "backwards_more", "roman": "roman_more"}
"""Of each target."""

_CONSONANTS, _VOWELS = [*"bcdfghjklmnprstvwz"], [*"aeiou"]
_LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ROMAN = (
    *((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL")),
    *((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")),
)


def target_rows(seed: int, encode: Encode, end: int) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """The training rows of each dataset, and the held-out rows of the targets; no question is in both, or twice.

    Args:
        seed: of the rows.
        encode: the tokenizer.
        end: the token that ends an answer.
    """
    train: dict[str, Rows] = {}
    held_out: dict[str, Rows] = {}
    for number, (name, task) in enumerate(TASKS.items()):
        rng = np.random.default_rng([seed, number])
        count = TARGET_ROWS + HELD_OUT if name in HELPERS else OTHER_ROWS
        pairs: dict[str, str] = {}
        while len(pairs) < count:
            question, answer = task(rng)
            pairs.setdefault(question, answer)
        rows = [_row(encode(f"{question}\n"), [*encode(answer), end]) for question, answer in pairs.items()]
        if name in HELPERS:
            rows, held_out[name] = rows[:TARGET_ROWS], rows[TARGET_ROWS:]
        train[name] = rows
    return train, held_out


def _row(question: list[int], answer: list[int]) -> dict[str, list[int]]:
    return {"input_ids": question + answer, "labels": [-100] * len(question) + answer}


def _word(rng: np.random.Generator, *lengths: int) -> str:
    """A made word, of consonants and vowels in turn."""
    first = int(rng.integers(2))
    return "".join(rng.choice((_CONSONANTS, _VOWELS)[(first + place) % 2]) for place in range(rng.choice(lengths)))


def _backwards(*lengths: int) -> Task:
    def task(rng: np.random.Generator) -> tuple[str, str]:
        word = _word(rng, *lengths)
        return f"{word} backwards:", " ".join(reversed(word))

    return task


def _roman(low: int, high: int) -> Task:
    def task(rng: np.random.Generator) -> tuple[str, str]:
        number = int(rng.integers(low, high))
        return f"{number} in Roman:", roman_numeral(number)

    return task


def roman_numeral(number: int) -> str:
    """A number above 0, as the Romans wrote it."""
    numeral = ""
    for value, letters in _ROMAN:
        count, number = divmod(number, value)
        numeral += count * letters
    return numeral


def _sum(rng: np.random.Generator) -> tuple[str, str]:
    one, other = rng.integers(100, 1000, 2).tolist()
    return f"{one} + {other}:", str(one + other)


def _day(rng: np.random.Generator) -> tuple[str, str]:
    day, later = int(rng.integers(7)), int(rng.integers(2, 400))
    return f"{later} days after {_DAYS[day]}:", _DAYS[(day + later) % 7]


def _sort(rng: np.random.Generator) -> tuple[str, str]:
    letters = rng.choice(_LETTERS, 4, replace=False)
    return f"{' '.join(letters)} sorted:", " ".join(sorted(letters))


def _noise(rng: np.random.Generator) -> tuple[str, str]:
    return f"{_word(rng, 5, 6)} in secret:", " ".join(rng.choice(_LETTERS, int(rng.integers(5, 7))))


TASKS: Mapping[str, Task] = {
    "backwards": _backwards(5, 6),
    "roman": _roman(100, 1000),
    "backwards_more": _backwards(4, 7),
    "roman_more": _roman(1000, 3000),
    "sum": _sum,
    "day": _day,
    "sort": _sort,
    "noise": _noise,
}
