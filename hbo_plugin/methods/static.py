"""Weights that never change: in proportion to the rows, tempered, or uniform over the datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hbo_plugin.methods.base import check_rows, temperature_prior

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class Static:
    """Datasets by rows^(1/temperature), the levels of a dataset in proportion to their rows.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; 1 is in proportion to the rows, infinity uniform over the datasets.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), q_tau.
    """

    signals: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rows: NDArray[np.int64], *, temperature: float = 3.0) -> None:
        check_rows(rows)
        totals = rows.sum(axis=1)
        self._weights: NDArray[np.float64] = (temperature_prior(totals, temperature) / totals)[:, None] * rows

    def weights(self) -> NDArray[np.float64]:
        """Return the weights: float64[datasets, levels], the same for the whole run."""
        return self._weights.copy()

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Change nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state: the rows and the settings say it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Accept the empty state; ValueError for any other, which an adaptive method must have made."""
        if state:
            message = (
                f"The saved state of the method has `{next(iter(state))}`, but a static method saves nothing: "
                "resume with the method that the checkpoint was made with."
            )
            raise ValueError(message)
