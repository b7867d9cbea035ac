"""Makes two targets with few rows, their helpers, sets that have nothing to do with them, and a decoy, under `demo/search/`.

All are short questions in words. A helper is the task of a target with other words, or in another range. The decoy has the
form of a target's answers, and nobody can learn it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Pair = tuple[str, str]
    """A question and its answer."""
    Task = Callable[[np.random.Generator], Pair]
    """Draws a pair at random."""

FOLDER = Path(__file__).resolve().parents[1] / "demo" / "search"
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


def pairs(seed: int) -> tuple[dict[str, list[Pair]], dict[str, list[Pair]]]:
    """Return the training pairs of each dataset, and the held-out pairs of the targets; no question is in both, or twice."""
    train: dict[str, list[Pair]] = {}
    held_out: dict[str, list[Pair]] = {}
    for number, (name, task) in enumerate(TASKS.items()):
        rng = np.random.default_rng([seed, number])
        count = TARGET_ROWS + HELD_OUT if name in HELPERS else OTHER_ROWS
        answers: dict[str, str] = {}
        while len(answers) < count:
            question, answer = task(rng)
            answers.setdefault(question, answer)
        train[name] = [*answers.items()]
        if name in HELPERS:
            train[name], held_out[name] = train[name][:TARGET_ROWS], train[name][TARGET_ROWS:]
    return train, held_out


def _word(rng: np.random.Generator, *lengths: int) -> str:
    """A made word, of consonants and vowels in turn."""
    first = int(rng.integers(2))
    return "".join(rng.choice((_CONSONANTS, _VOWELS)[(first + place) % 2]) for place in range(rng.choice(lengths)))


def _backwards(*lengths: int) -> Task:
    def task(rng: np.random.Generator) -> Pair:
        word = _word(rng, *lengths)
        return f"{word} backwards:", " ".join(reversed(word))

    return task


def _roman(low: int, high: int) -> Task:
    def task(rng: np.random.Generator) -> Pair:
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


def _sum(rng: np.random.Generator) -> Pair:
    one, other = rng.integers(100, 1000, 2).tolist()
    return f"{one} + {other}:", str(one + other)


def _day(rng: np.random.Generator) -> Pair:
    day, later = int(rng.integers(7)), int(rng.integers(2, 400))
    return f"{later} days after {_DAYS[day]}:", _DAYS[(day + later) % 7]


def _sort(rng: np.random.Generator) -> Pair:
    letters = rng.choice(_LETTERS, 4, replace=False)
    return f"{' '.join(letters)} sorted:", " ".join(sorted(letters))


def _noise(rng: np.random.Generator) -> Pair:
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


def main() -> None:
    """Write `train/<name>.jsonl` for each dataset, and `test/<name>.jsonl` for each target."""
    for split, sets in zip(("train", "test"), pairs(seed=0), strict=True):
        for name, rows in sets.items():
            path = FOLDER / split / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = (json.dumps({"question": question, "answer": answer}) for question, answer in rows)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
