"""PiKE: datasets with a strong gradient and little noise in it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import Factor, UniformFloor
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.exponentiated import Exponentiated
from hbo_plugin.methods.single import Single

# Bounds of what is divided by, and of what comes out, so that both exist.
_SMALLEST_SQUARE, _LARGEST = 1e-100, 1e100


@dataclass(frozen=True, kw_only=True)
class PikeSettings:
    """The settings of `pike`."""

    prior: Prior = "uniform"
    zeta_1: Annotated[
        Factor,
        Field(
            description="Weight of the squared gradient norm. At 0.1 an update moves the logarithm of a weight by "
            "tenths; the paper's values do not carry over."
        ),
    ] = 0.1
    zeta_2: Annotated[Factor, Field(description="Weight of the gradient's variance.")] = 0.1
    floor: UniformFloor = 0.0

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> Exponentiated:
        """Build the actor from its prior, float64[arms]."""
        return Exponentiated(prior, step_size=1.0, floor=self.floor)


class Pike(Single):
    """Datasets by the exponential of squared norm minus variance, summed over updates; levels follow their rows.

        weight_k <- normalise(weight_k * exp(zeta_1 |g_k|^2 / s - zeta_2 / (2 batch) sigma_k^2 / s))

    with g_k the gradient of a dataset's mean loss and sigma_k^2 the variance of a single row's gradient. It comes
    from a bound on what one step with little conflict between gradients lowers the loss by; without the variance,
    noisy datasets win.

    Two things are added. The square of a norm measured on n rows is too large by sigma_k^2 / n, which would pay for
    noise what the second term charges, so that much is subtracted, down to 0. And the zetas of the paper are in the
    unit 1 / |g|^2 and tuned for each model; here s removes the unit, so that one pair of numbers serves every model,
    and the paper's are these over s: s is the mean over the datasets of the square before that subtraction, or of
    sigma_k^2 / n where this is more. So where noise covers every gradient, it is the noise that is the unit, and N
    datasets move the odds of two of them by at most exp(N (zeta_1 + zeta_2 n / (2 batch))) an update.

    Source: PiKE (arXiv 2502.06244), the update of the weights.
    """

    Settings: ClassVar[type] = PikeSettings
    signals = ("gradient_norm", "gradient_variance")
    _settings: PikeSettings

    def __init__(self, rows: NDArray[np.int64], settings: PikeSettings, run: RunFacts) -> None:
        super().__init__(rows, settings, run)
        self._noise = settings.zeta_2 / (2 * run.batch)
        self._measured_on = np.minimum(rows.sum(axis=1), run.gradient_rows)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the exponents, float64[datasets]; NaN where norm or variance was not measured."""
        square = self._of_datasets(signals, "gradient_norm") ** 2
        variance = np.maximum(self._of_datasets(signals, "gradient_variance"), 0)
        noise = variance / self._measured_on
        measured: NDArray[np.float64] = np.maximum(square, noise)
        if np.isnan(measured).all():
            return measured
        unit = max(float(np.nanmean(measured)), _SMALLEST_SQUARE)
        exponents = (self._settings.zeta_1 * (measured - noise) - self._noise * variance) / unit
        return np.asarray(np.clip(exponents, -_LARGEST, _LARGEST))
