"""Families of made mixtures that a small model learns: what counts, what helps, and what is wrong with the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.tasks import LEARNABLE, NOISE, task_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.training_run import Rows

SIZES = (4000, 2000, 1000, 500, 250, 120, 60, 30)
"""Rows of eight datasets; which task has how many depends on the seed."""
HELD_OUT = 128
"""Rows of each dataset that counts: one half to steer by, one to judge by."""
TARGETS = ("first", "second")
"""Datasets of the families in which two of few rows count."""
HELPERS = {name: f"{name}, more" for name in TARGETS}
"""Of each: the same task in another spelling."""
LATER = {"branch_at": 0.1, "branch_steps": 40}
"""Of longer branches, after more has been learned."""


@dataclass(frozen=True)
class Made:
    """A dataset.

    Attributes:
        task: of its rows.
        rows: how many, all different.
        wrong: share of its answers that have to do with nothing.
        spelling: of the task.
        copies: how often each row stands in it.
    """

    task: str
    rows: int
    wrong: float = 0
    spelling: int = 0
    copies: int = 1


Datasets = dict[str, Made]
"""By their names."""


def _unequal(rng: np.random.Generator) -> Datasets:
    sizes = rng.permutation(SIZES).tolist()
    return {task: Made(task, size) for task, size in zip(LEARNABLE, sizes, strict=True)}


def _with_noise(rng: np.random.Generator) -> Datasets:
    return _unequal(rng) | {NOISE: Made(NOISE, 1000)}


def _wrong_labels(rng: np.random.Generator) -> Datasets:
    wrong = {2000: 1.0, 1000: 0.5}
    return {name: Made(made.task, made.rows, wrong.get(made.rows, 0)) for name, made in _unequal(rng).items()}


def _duplicates(rng: np.random.Generator) -> Datasets:
    largest = max(SIZES)
    return {
        name: Made(made.task, largest // 20, copies=20) if made.rows == largest else made
        for name, made in _unequal(rng).items()
    }


def _tiny(rng: np.random.Generator) -> Datasets:
    sizes = rng.permutation((4000, 2000, 40, 40, 40, 40, 20, 20)).tolist()
    return {task: Made(task, size) for task, size in zip(LEARNABLE, sizes, strict=True)}


def _with_targets(rng: np.random.Generator, *, helpers: bool, wrong: float = 0, noise: bool = False) -> Datasets:
    tasks = rng.permutation(LEARNABLE).tolist()
    made = {name: Made(task, 60) for name, task in zip(TARGETS, tasks, strict=False)}
    if helpers:
        made |= {HELPERS[name]: Made(each.task, 1500, wrong, spelling=1) for name, each in made.items()}
    return made | {f"other {number}": Made(NOISE if noise else task, 1500) for number, task in enumerate(tasks[2:6], 1)}


_ALL_COUNT: Mapping[str, dict[str, Any]] = {
    "temperature 3": {"method": "static", "prior": 3},
    "temperature 2": {"method": "static", "prior": 2},
    "temperature 5": {"method": "static", "prior": 5},
    "proportional": {"method": "static", "prior": "proportional"},
    "uniform": {"method": "static", "prior": "uniform"},
    "hbo": {"method": "hbo"},
    "hbo, datasets only": {"method": "hbo", "levels": 1},
    "learning progress": {"method": "learning_progress"},
    "mos": {"method": "mos"},
    "odm": {"method": "odm"},
    "random": {"method": "random"},
}
"""Arms by their names: keys of the `hbo:` block. The first is what the others are compared with."""
_CAPS: Mapping[str, dict[str, Any]] = {
    f"cap {epochs}": {"method": "static", "max_epochs": epochs} for epochs in (3, 6, 10, "auto")
}
_PUBLISHED: Mapping[str, dict[str, Any]] = {"hbo, published": {"method": "hbo", "published": True}}
"""Takes as long as ten others."""
_LEFT_OUT = ("temperature 3", "temperature 5", "uniform")
"""Beside a target: 4, 6 and 10 epochs of the two sets, as the caps give them."""
_TARGET: Mapping[str, dict[str, Any]] = {
    "target first": {"method": "static"},
    **{name: block for name, block in _ALL_COUNT.items() if name not in _LEFT_OUT},
    **_CAPS,
    "branches": {"method": "branches"},
    "branches, later": {"method": "branches", **LATER},
    "tandem": {"method": "tandem"},
    "scalebio": {"method": "scalebio"},
}


def _by_hand(share: float) -> dict[str, Any]:
    """Half of what the targets leave to each helper."""
    weights = dict.fromkeys(TARGETS, share) | dict.fromkeys(HELPERS.values(), 0.5 - share)
    return {"method": "static", "prior": weights | {f"other {number}": 0.0 for number in range(1, 5)}}


@dataclass(frozen=True)
class Family:
    """Mixtures of one kind, a different one for each seed.

    Attributes:
        datasets: of a mixture, by name.
        counts: the datasets that count, all alike.
        arms: the ways to train, by name; the first is what the others are compared with.
        block: keys of `hbo:` that they share.
    """

    datasets: Callable[[np.random.Generator], Datasets]
    counts: tuple[str, ...] = tuple(LEARNABLE)
    arms: Mapping[str, dict[str, Any]] = field(default_factory=lambda: _ALL_COUNT)
    block: Mapping[str, Any] = field(default_factory=lambda: {"prior": 3})

    @property
    def baseline(self) -> str:
        """The first arm."""
        return next(iter(self.arms))

    def rows(self, seed: int) -> tuple[dict[str, Rows], dict[str, Rows]]:
        """The training rows of each dataset, and the right held-out rows of those that count, by name."""
        rng = np.random.default_rng(seed)
        train, held_out = {}, {}
        for name, made in self.datasets(rng).items():
            rows = task_rows(made.task, made.rows, rng, wrong=made.wrong, spelling=made.spelling)
            if name in self.counts:
                held_out[name] = task_rows(made.task, HELD_OUT, rng, rows, spelling=made.spelling)
            train[name] = rows * made.copies
        return train, held_out


def _of_targets(helpers: Mapping[str, Any], *, by_hand: bool) -> Family:
    # At the default cap of 4 epochs, a run of 150 steps of 32 rows gives each of the two 240 of its 4,800 rows.
    arms = {**_TARGET, **({"by hand": _by_hand(0.05)} if by_hand else {})}
    return Family(partial(_with_targets, **helpers), TARGETS, arms, {})


FAMILIES: Mapping[str, Family] = {
    "all count": Family(_unequal, arms={**_ALL_COUNT, **_PUBLISHED, **_CAPS}),
    "noise": Family(_with_noise, arms={**_ALL_COUNT, **_PUBLISHED}),
    "wrong labels": Family(_wrong_labels),
    "duplicates": Family(_duplicates),
    "tiny sets": Family(_tiny, arms={**_ALL_COUNT, **_CAPS}),
    "target with helpers": _of_targets({"helpers": True}, by_hand=True),
    "target with flawed helpers": _of_targets({"helpers": True, "wrong": 0.3}, by_hand=True),
    "target beside other tasks": _of_targets({"helpers": False}, by_hand=False),
    # Of which none can be better for the target than another.
    "target beside noise": _of_targets({"helpers": False, "noise": True}, by_hand=False),
}
