"""Toy languages in which a token follows another by a table, and runs of the product on datasets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset

from benchmarks.training_run import Training, chain_model
from hbo_plugin.signals.passes import mean_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.training_run import Rows

_TOKENS, _LENGTH, _NOISE = 16, 12, 0.2
STEPS, BATCH = 200, 16


class Chain:
    """A language: each token is followed by one of two, and now and then by any."""

    def __init__(self, seed: int) -> None:
        """Draw its table."""
        rng = np.random.default_rng(seed)
        self._table = rng.permuted(np.tile(np.arange(_TOKENS), (_TOKENS, 1)), axis=1)[:, :2]

    def rows(self, rng: np.random.Generator, count: int) -> Rows:
        """Rows of it."""
        ids = rng.integers(_TOKENS, size=(count, _LENGTH))  # what noise leaves
        for at in range(1, _LENGTH):
            follows = self._table[ids[:, at - 1], rng.integers(2, size=count)]
            ids[:, at] = np.where(rng.random(count) < _NOISE, ids[:, at], follows)
        return [{"input_ids": row, "labels": [-100, *row[1:]]} for row in ids.tolist()]


def run(
    datasets: Sequence[Rows],
    held_out: Sequence[Rows],
    block: dict[str, Any],
    folder: Path,
    *,
    seed: int,
    prepare: Callable[[Training], None] = lambda _: None,
) -> Training:
    """Train on datasets `set0`, `set1`, ... of which the held-out rows of the first are the target."""
    whole = {"target": ["set0"], "levels": 1, "forward_rows": 64, "gradient_rows": 16, "max_epochs": 1e9, **block}
    training = Training.of(
        chain_model(_TOKENS),
        datasets,
        held_out,
        rows_per_step=BATCH,
        steps=STEPS,
        folder=folder,
        block={"update_every": 20, **whole},
        seed=seed,
    )
    prepare(training)
    for step in range(1, STEPS + 1):
        training.step(step)
    return training


def loss_on(training: Training, rows: Rows) -> float:
    """Of the model that was trained, a token."""
    lengths = np.full(len(rows), _LENGTH, np.int32)
    return float(mean_losses(training.run.context, Dataset.from_list(rows), np.arange(len(rows)), lengths).mean())
