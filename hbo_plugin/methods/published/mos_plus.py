"""MoS+: the reward of MoS, with one flat actor over all cells; what HBO is without its hierarchy."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.actors import ClosedFormSettings
from hbo_plugin.methods.parameters import EmaDecay, Exponent
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.adam import AdamSettings, Fit
from hbo_plugin.methods.published.hbo import FIT
from hbo_plugin.methods.reading import read_signal
from hbo_plugin.methods.single import Single


@dataclass(frozen=True, kw_only=True)
class MosPlusSettings(ClosedFormSettings):
    """The settings of `mos_plus`."""

    difference: ClassVar[str] = "perplexity_ratio"
    """The signal that rewards a cell."""

    prior: Prior = "uniform"
    ema_decay: EmaDecay = 0.1
    exponent: Exponent = 1.0


@dataclass(frozen=True, kw_only=True)
class PublishedMosPlusSettings(AdamSettings):
    """The settings of `mos_plus` with `published: true`."""

    fit: ClassVar[Fit] = FIT
    first_average: ClassVar[float] = 1.0
    difference: ClassVar[str] = "mean_perplexity_ratio"

    prior: Prior = "uniform"
    ema_decay: EmaDecay = 0.1


class MosPlus(Single):
    """Cells by the moving average of their perplexity ratio: the `difference` of `Mos`, cell by cell.

    HBO's paper names it as a baseline in one line and publishes no code for it, so the prior, the average and the
    actor are those of `Mos`: a uniform prior over the cells with rows, of which a dataset with fewer levels has
    fewer.

    Source: HBO (arXiv 2505.12300), baselines.
    """

    Settings: ClassVar[type] = MosPlusSettings
    flat = True
    _settings: MosPlusSettings | PublishedMosPlusSettings

    @property
    def signals(self) -> tuple[str, ...]:
        """The mean of ratios that the settings name."""
        return (self._settings.difference,)

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the signal of the cells with rows, float64[arms]."""
        return read_signal(signals, self._settings.difference, self._rows.shape)[self._live]
