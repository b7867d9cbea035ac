"""The prior: the weights of the datasets that a run starts from, as a user writes them and as a method needs them."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hbo_plugin.methods.arithmetic import softmax
from hbo_plugin.methods.parameters import Shares, in_order

Prior = Annotated[
    Literal["proportional", "uniform"] | Annotated[float, Field(gt=0)] | Shares,
    Field(
        description="The weights of the datasets that the run starts from: `proportional` to their rows, `uniform`, "
        "rows ** (1 / temperature) for a number, which is the temperature, or a number for each dataset by its name. "
        "Beside a `target` that counts some of the datasets, the default becomes target first: see `target`."
    ),
]

TEMPERATURE = 3.0
"""Of the default prior: what served best where every dataset counts equally."""
_TEMPERATURES = {"proportional": 1.0, "uniform": inf}


def prior_weights(
    prior: str | float | Mapping[str, float], rows: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Return the weights of a prior, float64[datasets], all above 0, which sum to 1.

    Args:
        prior: a `Prior`.
        rows: of each dataset, int64[datasets], all at least 1.
        names: of the datasets.

    Raises ValueError where a prior by name does not have a number above 0 for each dataset.

    Source of the temperature: HBO (arXiv 2505.12300), q_tau; 1 is in proportion to the rows, infinity is uniform.
    """
    if isinstance(prior, Mapping):
        return normalised(in_order("prior", prior, names))
    temperature = _TEMPERATURES[prior] if isinstance(prior, str) else prior
    with np.errstate(over="ignore"):  # the coldest put all weight on the largest, as they should
        return softmax(np.log(rows / rows.max()) / temperature)


def cell_prior(
    prior: str | float | Mapping[str, float], rows: NDArray[np.int64], names: Sequence[str]
) -> NDArray[np.float64]:
    """Return the prior of the cells with rows, as arms that know no dataset: float64[cells with rows].

    A number or a word counts the rows of a cell. What is given by name goes to a dataset's cells by their rows.

    Args:
        prior: a `Prior`.
        rows: int64[datasets, levels], the rows of every cell.
        names: of the datasets.
    """
    live = rows > 0
    if not isinstance(prior, Mapping):
        return prior_weights(prior, rows[live], names)
    datasets = prior_weights(prior, rows.sum(axis=1), names)
    return np.asarray(((datasets / rows.sum(axis=1))[:, None] * rows)[live])


def normalised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[datasets], 0 or more and not all 0, divided by their sum."""
    # Divided by the largest first, so that the sum cannot overflow.
    shares = values / values.max()
    return np.asarray(shares / shares.sum())
