"""How a method reads a signal: checked, finite or NaN, and as one value a dataset where that is needed."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.signals.table import SIGNALS

__all__ = ["SIGNALS", "by_dataset", "read_signal"]

# A signal is a finite number or "not measured". Squares of the bound, and sums of those, are still finite.
_LARGEST = 1e100


def read_signal(
    signals: Mapping[str, NDArray[np.float64]], name: str, cells: tuple[int, ...], sets: int = 0
) -> NDArray[np.float64]:
    """Return signal `name` as float64: [datasets, levels] as `cells`, [datasets], or [datasets, sets of the target].

    What is not finite comes back as NaN; magnitudes above 1e100 come back as 1e100, so that their squares exist.
    Raises ValueError where the signal is missing or has another shape.
    """
    shape = {"cell": cells, "dataset": cells[:1], "target": (*cells[:1], sets)}[SIGNALS[name].shape]
    if name not in signals:
        message = f"The signal `{name}` is missing, but this method needs it at every update; measure it, or pass NaN."
        raise ValueError(message)
    values = np.asarray(signals[name], dtype=np.float64)
    if values.shape != shape:
        message = f"The signal `{name}` has shape `{values.shape}`, but it must be `{shape}`; pass one value for each."
        raise ValueError(message)
    return np.clip(np.where(np.isfinite(values), values, np.nan), -_LARGEST, _LARGEST)


def by_dataset(values: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each dataset's measured cells, weighted with their rows; NaN where none was measured.

    Takes float64[datasets, levels] and int64 of the same shape; returns float64[datasets]. What is one value a
    dataset already, float64[datasets], comes back as it came.
    """
    if values.ndim == 1:
        return values
    measured = np.isfinite(values)
    counted = np.where(measured, rows, 0)
    total = counted.sum(axis=1)
    mean = (counted / np.maximum(total, 1)[:, None] * np.where(measured, values, 0)).sum(axis=1)
    return np.where(total > 0, mean, np.nan)
