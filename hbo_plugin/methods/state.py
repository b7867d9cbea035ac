"""Arrays in a method's saved state: to JSON and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_json(values: NDArray[np.float64]) -> list[float | None]:
    """Return an array of any shape as one list; NaN, which JSON lacks, becomes None."""
    return [None if np.isnan(value) else float(value) for value in values.ravel()]


def of_sets(
    values: NDArray[np.float64], saved: Sequence[str], names: Sequence[str], missing: float
) -> NDArray[np.float64]:
    """Return saved float64[datasets, sets of the target] in the order of the sets of a run, whose target may be another now.

    Args:
        values: float64[datasets, saved sets].
        saved: names of the saved sets.
        names: those of the run.
        missing: what a set has that was not saved.
    """
    columns = [values[:, saved.index(name)] if name in saved else np.full(len(values), missing) for name in names]
    return np.array(columns, np.float64).reshape(len(names), len(values)).T


def from_json(
    state: Mapping[str, Any], name: str, shape: int | tuple[int, ...], *, unmeasured: bool = False
) -> NDArray[np.float64]:
    """Return entry `name` of a saved state as float64 of a shape; None becomes NaN and is allowed where `unmeasured`.

    Raises ValueError where the entry is missing, is no list of as many numbers, or has a number that cannot be.
    """
    if name not in state:
        message = (
            f"The saved state of the method has no `{name}`, so another method made it; "
            "resume with the method that the checkpoint was made with."
        )
        raise ValueError(message)
    try:
        values = np.array(state[name], dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)  # no list of numbers: refused below, by its shape
    count = int(np.prod(shape))
    fits = values.shape == (count,) and not np.isinf(values).any()
    if not fits or (np.isnan(values).any() and not unmeasured):
        message = (
            f"The saved state of the method has `{state[name]}` for `{name}`, but it must be {count} finite numbers; "
            "resume with the datasets and levels that the checkpoint was made with."
        )
        raise ValueError(message)
    return values.reshape(shape)
