"""Weights that never change and that the user gives, one for each dataset."""

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import in_order
from hbo_plugin.methods.static import Static


@dataclass(frozen=True, kw_only=True)
class GivenSettings:
    """The settings of `given`."""

    weights: Annotated[
        dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]],
        Field(description="A number above 0 for each dataset, by its name."),
    ]


class Given(Static):
    """Datasets by the numbers in `weights`, which need not sum to 1; levels in proportion to their rows.

    A dataset that is not wanted is left out of the data instead of having the weight 0.

    Source: what a user writes down.
    """

    Settings: ClassVar[type] = GivenSettings

    def __init__(self, rows: NDArray[np.int64], settings: GivenSettings, run: RunFacts) -> None:
        super().__init__(rows, in_order("weights", settings.weights, run.names))
