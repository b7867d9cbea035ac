"""Overlap: held-out rows that are trained on too, whose loss says less than it seems."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.signals.context import HeldOutRows

_AT_ONCE = 4096
"""Rows that are read together."""


def notes_on_overlap(train: Any, lengths: NDArray[np.int32], held_out: HeldOutRows) -> list[str]:
    """What a user should know of each held-out set with rows that have the very tokens of rows to train on.

    Args:
        train: the tokenised rows to train on.
        lengths: tokens of each, int32[rows].
        held_out: rows that are not meant to be among them.
    """
    # Only rows of these lengths can be the same, and only they are read.
    candidates = np.flatnonzero(np.isin(lengths, np.unique(held_out.lengths)))
    trained = set(_tokens(train, candidates))
    notes = []
    for name, part in held_out.sets.items():
        shared = sum(row in trained for row in _tokens(held_out.rows, np.arange(part.start, part.stop)))
        if shared:
            notes.append(
                f"{shared} of {len(part)} rows of the held-out set `{name}` are trained on too, so its loss tells how well they "
                f"are remembered; take them out of one of the two"
            )
    return notes


def _tokens(dataset: Any, rows: NDArray[np.int64]) -> Iterator[bytes]:
    """The tokens of each of these rows."""
    for first in range(0, len(rows), _AT_ONCE):
        for ids in dataset[rows[first : first + _AT_ONCE].tolist()]["input_ids"]:
            yield np.asarray(ids, np.int32).tobytes()
