"""PiKE: datasets with a strong gradient and little noise in it."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.methods.actors import Exponentiated
from hbo_plugin.methods.base import check_factor, check_setting
from hbo_plugin.methods.single import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Bounds of what is divided by, and of what comes out, so that both exist.
_LEAST_SQUARE, _MOST = 1e-100, 1e100


class Pike(Single):
    """Datasets by the exponential of squared norm minus variance, summed over updates; levels follow their rows.

        weight_k <- normalise(weight_k * exp(zeta_1 |g_k|^2 / s - zeta_2 / (2 batch) sigma_k^2 / s))

    with g_k the gradient of a dataset's mean loss and sigma_k^2 the variance of a single row's gradient. It comes
    from a bound on what one step with little conflict between gradients takes off the loss; without the variance,
    noisy datasets win.

    Two things are added. The zetas of the paper are in the unit 1 / |g|^2 and tuned for each model; here s, the mean
    of |g_k|^2 over the datasets measured, takes the unit out, so that one pair of numbers serves every model, and
    the paper's are these over s. And the square of a norm measured on n rows is too large by sigma_k^2 / n, which
    would pay for noise what the second term charges, so that much is taken off, down to 0.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset may be empty.
        zeta_1: 0 or more; the weight of the squared norm. The paper's values do not carry over; at 0.1 an update
            moves the logarithm of a weight by tenths.
        zeta_2: 0 or more; the weight of the variance.
        batch: at least 1; the rows of an optimizer step.
        gradient_rows: at least 1; the rows of a dataset that its norm is measured on, or all rows where it has fewer.
        temperature: above 0; the first weights are rows^(1/temperature), uniform by default.
        floor: 0 to 1; the share of the weights that is uniform, published as none.

    Raises ValueError for anything else. Source: PiKE (arXiv 2502.06244), the update of the weights.
    """

    signals = ("gradient_norm", "gradient_variance")

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        zeta_1: float = 0.1,
        zeta_2: float = 0.1,
        batch: int = 32,
        gradient_rows: int = 32,
        temperature: float = inf,
        floor: float = 0.0,
    ) -> None:
        check_factor("zeta_1", zeta_1)
        check_factor("zeta_2", zeta_2)
        check_setting("batch", batch, "at least 1", lambda value: value >= 1)
        check_setting("gradient_rows", gradient_rows, "at least 1", lambda value: value >= 1)
        super().__init__(rows, temperature, partial(Exponentiated, step=1.0, floor=floor))
        self._zeta_1, self._noise = zeta_1, zeta_2 / (2 * batch)
        self._measured_on = np.minimum(rows.sum(axis=1), gradient_rows)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the exponents, float64[datasets]; NaN where norm or variance was not measured."""
        norm = self._of_datasets(signals, "gradient_norm")
        variance = self._of_datasets(signals, "gradient_variance")
        square: NDArray[np.float64] = np.maximum(norm**2 - variance / self._measured_on, 0)
        if np.isnan(square).all():
            return square
        unit = max(float(np.nanmean(square)), _LEAST_SQUARE)
        exponents = (self._zeta_1 * square - self._noise * variance) / unit
        return np.asarray(np.clip(exponents, -_MOST, _MOST))
