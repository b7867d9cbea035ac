"""Weights that never change: in proportion to the rows, tempered, uniform over the datasets, or capped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hbo_plugin.methods.base import check_rows, check_setting, temperature_prior

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


class Static:
    """The frame of a static method: weights of datasets, the levels of each in proportion to their rows.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        datasets: float64[datasets], all above 0; the weights, up to their sum.
    """

    signals: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rows: NDArray[np.int64], datasets: NDArray[np.float64]) -> None:
        # Divided by the largest first, so that the sum cannot overflow.
        shares = datasets / datasets.max()
        self._weights: NDArray[np.float64] = (shares / shares.sum() / rows.sum(axis=1))[:, None] * rows

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


class Temperature(Static):
    """Datasets by rows^(1/temperature).

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        temperature: above 0; 1 is in proportion to the rows, infinity uniform over the datasets.

    Raises ValueError for anything else. Source: HBO (arXiv 2505.12300), q_tau.
    """

    def __init__(self, rows: NDArray[np.int64], *, temperature: float = 3.0) -> None:
        check_rows(rows)
        super().__init__(rows, temperature_prior(rows.sum(axis=1), temperature))


class Proportional(Static):
    """Every row as likely as any other: datasets in proportion to their rows.

    Takes int64[datasets, levels], the rows of every cell; ValueError where a dataset is empty.
    Source: HBO (arXiv 2505.12300), q_tau with tau = 1.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        check_rows(rows)
        super().__init__(rows, rows.sum(axis=1).astype(np.float64))


class Uniform(Static):
    """Every dataset as likely as any other.

    Takes int64[datasets, levels], the rows of every cell; ValueError where a dataset is empty.
    Source: HBO (arXiv 2505.12300), q_tau with tau = infinity.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        check_rows(rows)
        super().__init__(rows, np.ones(len(rows)))


class Capped(Static):
    """Datasets in proportion to their rows, of which no more than `limit` count: `min(rows, limit)`.

    "Examples-proportional mixing". T5 pre-trains with a limit of 2^19; the default here is that of instruction
    tuning (FLAN, arXiv 2109.01652, section 2.4). The limit acts on weights alone: every row may still be drawn.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        limit: at least 1, in rows.

    Raises ValueError for anything else. Source: T5 (arXiv 1910.10683), section 3.5.2.
    """

    def __init__(self, rows: NDArray[np.int64], *, limit: int = 3000) -> None:
        check_rows(rows)
        check_setting("limit", limit, "at least 1", lambda value: value >= 1)
        super().__init__(rows, np.array([min(count, limit) for count in rows.sum(axis=1).tolist()], dtype=np.float64))
