"""Target first: the prior of a run that is meant to be good at some of its datasets."""

from collections.abc import Collection

import numpy as np

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.methods.prior import TEMPERATURE, prior_weights
from hbo_plugin.methods.reading import by_dataset
from hbo_plugin.training.caps import cap_weights

_LEAST = 1e-6
"""What the others have together where those that count could fill the run: a weight of 0 would have no logarithm."""


def target_first(
    cells: Cells, config: HBOConfig, counted: Collection[str], *, steps: int, capacity: float, packed: bool
) -> dict[str, float]:
    """Return a prior by name: the counted datasets by temperature, up to `max_epochs`, and the rest evenly to the others.

    Args:
        cells: the layout of the training set.
        config: the `hbo:` block.
        counted: names of the datasets that count; at least one, and not all.
        steps: of the run.
        capacity: rows of a step; or tokens, where rows are packed.
        packed: whether they are.
    """
    rows = cells.sizes.sum(axis=1)
    first = np.array([name in counted for name in cells.names])
    cost, unit = (
        by_dataset(mean.reshape(cells.sizes.shape), cells.sizes)
        for mean in (cells.mean_units("token" if packed else "row"), cells.mean_units(config.unit))
    )
    epochs = config.epochs_of(cells.names, steps * capacity / float(rows @ cost))
    # In shares of the run's capacity, in which the allowances are known.
    most = np.minimum(epochs * rows * cost / (steps * capacity), 1.0)
    wanted = np.where(first, prior_weights(TEMPERATURE, rows, cells.names) / unit * cost, 0.0)
    room = min(1 - _LEAST, most[first].sum())
    shares = cap_weights(wanted / wanted.sum(), most, room)[0] * room
    even = np.where(first, 0.0, cost / unit)
    shares += even / even.sum() * (1 - room)
    weights = shares / cost * unit
    return dict(zip(cells.names, (weights / weights.sum()).tolist(), strict=True))
