"""The row weights of a run, made from what the key `row_weights` has."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hbo_plugin.classes import imported
from hbo_plugin.row_weights.base import RowWeights
from hbo_plugin.row_weights.column import ColumnWeights
from hbo_plugin.row_weights.dwm import Dwm, DwmSettings
from hbo_plugin.row_weights.settings import ColumnSettings, RowWeightsSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hbo_plugin.methods.base import RunFacts


def make_row_weights(
    settings: RowWeightsSettings,
    run: RunFacts,
    *,
    values: NDArray[np.float64] | None,
    trained: NDArray[np.int32],
    steps: int,
    levels: int,
) -> RowWeights:
    """Build row weights.

    Args:
        settings: which.
        run: what they may know of the run.
        values: of the column that weighs rows, for each row of the training set, float64[rows]; None where none does.
        trained: tokens of each that the model learns to predict, int32[rows].
        steps: of the run.
        levels: of a dataset.

    Raises:
        ValueError: settings that do not fit the run, a file that is no network, a class that gives no row weights.
    """
    if isinstance(settings, DwmSettings):
        return Dwm(run, settings, steps, levels)
    if isinstance(settings, ColumnSettings):
        assert values is not None  # noqa: S101 the data has them where a column weighs rows
        return ColumnWeights(values, trained, normalise=settings.normalise)
    made: RowWeights = find_row_weights(settings)(run)
    return made


def find_row_weights(path: str) -> Any:
    """Return the class of row weights with this dotted path; ValueError where there is none."""
    found = imported("row_weights", path)
    if not (inspect.isclass(found) and issubclass(found, RowWeights) and not inspect.isabstract(found)):
        msg = (
            f"`hbo.row_weights: {path}` was given, but it is no subclass of `hbo_plugin.row_weights.base.RowWeights` with "
            f"`weights()`; `python -m hbo_plugin docs extending` shows what row weights are."
        )
        raise ValueError(msg)
    return found
