"""Dropped rows: a trainer that tokenises its rows itself may drop some, and then numbers name other rows."""

import reprlib
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.data.load import RunData
from hbo_plugin.messages import all_of


def refuse_dropped(data: RunData, found: Any) -> None:
    """Refuse to train where the trainer lacks rows of the training set.

    Args:
        data: what the trainer was given.
        found: the rows that it has, in the same order.

    Raises:
        ValueError: names each dataset with dropped rows, how many they are, and the first of them.
    """
    if len(found) != len(data.train):
        dropped = _dropped(data, found)
        all_of(partial(_refuse, data, dataset, dropped) for dataset in range(len(data.cells.names)))


def _dropped(data: RunData, found: Any) -> NDArray[np.bool_]:
    """Which rows of the training set are not among those found, bool[rows]."""
    left = iter(found[_column(data)])
    first = next(left, None)
    dropped = np.ones(len(data.train), np.bool_)
    for row, value in enumerate(data.train[_column(data)]):
        if value == first:
            dropped[row] = False
            first = next(left, None)
    return dropped


def _refuse(data: RunData, dataset: int, dropped: NDArray[np.bool_]) -> None:
    rows = data.cells.dataset_rows(dataset)
    own = np.flatnonzero(dropped[rows.start : rows.stop])
    if not len(own):
        return
    column = _column(data)
    shown = reprlib.repr(data.train[rows.start + int(own[0])][column])
    msg = (
        f"the trainer drops {len(own)} of the {len(rows)} rows of dataset `{data.cells.names[dataset]}` when it tokenises them, "
        f"as they fill `sequence_len` before their answers begin; the first has the `{column}` {shown}. Remove them, or raise "
        f"`sequence_len`."
    )
    raise ValueError(msg)


def _column(data: RunData) -> str:
    """The column by which rows are told apart."""
    return str(data.train.column_names[0])
