"""The table of signals, and how a method reads one. What measures them is elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# A signal is a finite number or "not measured". Squares of the bound, and sums of those, are still finite.
_MOST = 1e100


class Signal(NamedTuple):
    """What a signal is."""

    per_cell: bool
    """True: float64[datasets, levels]. False: float64[datasets]."""
    meaning: str
    """What one value is, with its unit."""


SIGNALS: Mapping[str, Signal] = {
    "gradient_norm": Signal(
        per_cell=False, meaning="L2 norm of the gradient of the mean loss of a sample of rows, nats / parameter unit"
    ),
    "gradient_variance": Signal(
        per_cell=False,
        meaning="trace of the covariance of the gradients of single rows' mean losses, the square of that unit",
    ),
    "gradient_alignment": Signal(
        per_cell=False, meaning="mean cosine of the dataset's gradient with that of each held-out set, -1 to 1"
    ),
    "similarity": Signal(
        per_cell=False, meaning="mean cosine of the dataset's mean hidden state with that of each dataset, -1 to 1"
    ),
    "loss": Signal(per_cell=True, meaning="mean loss a token of the answer, nats"),
    "perplexity_ratio": Signal(
        per_cell=True, meaning="geometric mean over rows of the perplexity now over that at the start, a ratio"
    ),
    "entropy": Signal(per_cell=True, meaning="mean entropy a token of the predictions on the answer, nats"),
    "held_out_loss": Signal(per_cell=False, meaning="mean loss a token of the held-out rows, nats"),
    "look_ahead": Signal(
        per_cell=False, meaning="relative drop of the loss after a virtual step on the dataset, a share"
    ),
}
"""Every signal by its name."""


def read_signal(signals: Mapping[str, NDArray[np.float64]], name: str, cells: tuple[int, ...]) -> NDArray[np.float64]:
    """Return signal `name` as float64, of shape `cells` or, where it has one value a dataset, of `cells[:1]`.

    What is not finite comes back as NaN; magnitudes above 1e100 come back as 1e100, so that their squares exist.
    Raises ValueError where the signal is missing or has another shape.
    """
    shape = cells if SIGNALS[name].per_cell else cells[:1]
    if name not in signals:
        message = f"The signal `{name}` is missing, but this method needs it at every update: measure it, or pass NaN."
        raise ValueError(message)
    values = np.asarray(signals[name], dtype=np.float64)
    if values.shape != shape:
        message = f"The signal `{name}` has shape `{values.shape}`, but it must be `{shape}`: pass one value for each."
        raise ValueError(message)
    return np.clip(np.where(np.isfinite(values), values, np.nan), -_MOST, _MOST)


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
