"""Weights that never change and that the user gives, one for each dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbo_plugin.methods.base import by_name, check_rows, check_setting
from hbo_plugin.methods.static import Static

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray


class Given(Static):
    """Datasets by the numbers in `weights`, which need not sum to 1; levels in proportion to their rows.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        names: the datasets' names, in order.
        weights: a number above 0 for each name. A dataset that is not wanted is left out of the data instead.

    Raises ValueError for anything else. Source: what a user writes down.
    """

    def __init__(
        self, rows: NDArray[np.int64], *, names: Sequence[str] = (), weights: Mapping[str, float] | None = None
    ) -> None:
        check_rows(rows)
        datasets = by_name("weights", weights, names)
        for name, weight in zip(names, datasets, strict=True):
            check_setting(f"weights.{name}", weight, "above 0", lambda value: value > 0)
        super().__init__(rows, datasets)
