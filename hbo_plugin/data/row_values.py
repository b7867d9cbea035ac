"""Row values: the numbers of the column that weighs rows, for those to train on, refused where one can be no weight."""

import reprlib
from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hbo_plugin.data.named_rows import NamedRows
from hbo_plugin.messages import all_of, yaml_text

_NUMBERS = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)


def row_values(
    column: str, datasets: Sequence[NamedRows], chosen: Sequence[NDArray[np.int64]], trained: NDArray[np.int32]
) -> NDArray[np.float64]:
    """The number of each row to train on, in the order of the training set, float64[rows]; booleans are 0 and 1.

    Args:
        column: that weighs rows, for messages.
        datasets: that are trained on, with the values of their entries.
        chosen: the rows of each to train on, counted from the first row of all entries, int64[rows of the dataset].
        trained: tokens of each row to train on that the model learns to predict, int32[rows].

    Raises:
        ValueError: names the first row of each dataset with a value that is no weight; or all are 0.
    """
    found = all_of(
        partial(_numbers, column, each, rows - each.first) for each, rows in zip(datasets, chosen, strict=True)
    )
    values = np.concatenate(found)
    if not values[trained > 0].any():
        msg = (
            f"`hbo.row_weights.column: {column}` is 0 in every row with a token to train on, so nothing would be learned; "
            f"name another column, or remove `row_weights`."
        )
        raise ValueError(msg)
    return values


def _numbers(column: str, dataset: NamedRows, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The numbers of these rows of a dataset's entry, float64[rows]."""
    values = dataset.weights.take(pa.array(rows))
    if any(fits(values.type) for fits in _NUMBERS):
        numbers = np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        numbers = np.full(len(rows), np.nan)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(wrong):
        raw_rows = np.asarray(dataset.prepared.raw_row)[rows[wrong]]
        first = int(raw_rows.argmin())
        value = values[int(wrong[first])].as_py()
        shown = reprlib.repr(value) if isinstance(value, str | list | dict) else yaml_text(value)
        msg = (
            f"`hbo.row_weights.column: {column}` is `{shown}` in row {raw_rows[first] + 1} of dataset `{dataset.name}`, but "
            f"a weight is a finite number, 0 or more; correct or remove the row."
        )
        raise ValueError(msg)
    return numbers
