"""Weights that never change: in proportion to the rows, tempered, uniform over the datasets, or capped."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods import parameters
from hbo_plugin.methods.arithmetic import temperature_prior
from hbo_plugin.methods.base import NoSettings, RunFacts


class Static:
    """The frame of a static method: weights of datasets, the levels of each in proportion to their rows.

    Args:
        rows: int64[datasets, levels], the rows of every cell; no dataset is empty.
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
        """Return an empty state: the weights follow from the rows and the settings."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Accept the empty state; ValueError for any other, which an adaptive method must have made."""
        if state:
            message = (
                f"The saved state of the method has `{next(iter(state))}`, but a static method saves nothing; "
                "resume with the method that the checkpoint was made with."
            )
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class TemperatureSettings:
    """The settings of `temperature`."""

    temperature: parameters.Temperature = 3.0


class Temperature(Static):
    """Datasets by rows^(1/temperature).

    Source: HBO (arXiv 2505.12300), q_tau.
    """

    Settings: ClassVar[type] = TemperatureSettings

    def __init__(self, rows: NDArray[np.int64], settings: TemperatureSettings, run: RunFacts) -> None:
        super().__init__(rows, temperature_prior(rows.sum(axis=1), settings.temperature))


class Proportional(Static):
    """Every row as likely as any other: datasets in proportion to their rows.

    Source: HBO (arXiv 2505.12300), q_tau with tau = 1.
    """

    Settings: ClassVar[type] = NoSettings

    def __init__(self, rows: NDArray[np.int64], settings: NoSettings, run: RunFacts) -> None:
        super().__init__(rows, rows.sum(axis=1).astype(np.float64))


class Uniform(Static):
    """Every dataset as likely as any other.

    Source: HBO (arXiv 2505.12300), q_tau with tau = infinity.
    """

    Settings: ClassVar[type] = NoSettings

    def __init__(self, rows: NDArray[np.int64], settings: NoSettings, run: RunFacts) -> None:
        super().__init__(rows, np.ones(len(rows)))


@dataclass(frozen=True, kw_only=True)
class CappedSettings:
    """The settings of `capped`."""

    limit: Annotated[int, Field(ge=1, description="How many rows of a dataset count towards its weight.")] = 3000


class Capped(Static):
    """Datasets in proportion to their rows, of which no more than `limit` count: `min(rows, limit)`.

    "Examples-proportional mixing". T5 pre-trains with a limit of 2^19; the default here is that of instruction
    tuning (FLAN, arXiv 2109.01652, section 2.4). The limit acts on weights alone: every row may still be drawn.

    Source: T5 (arXiv 1910.10683), section 3.5.2.
    """

    Settings: ClassVar[type] = CappedSettings

    def __init__(self, rows: NDArray[np.int64], settings: CappedSettings, run: RunFacts) -> None:
        counts = [min(count, settings.limit) for count in rows.sum(axis=1).tolist()]
        super().__init__(rows, np.array(counts, dtype=np.float64))
