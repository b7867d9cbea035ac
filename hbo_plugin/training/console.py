"""The console: what a run says while it trains, above the bar of its progress."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from hbo_plugin.messages import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hbo_plugin.history import Stop
    from hbo_plugin.training.balancer import Balancer

LOG = logging.getLogger(__name__)

_SHOWN = 2
"""Datasets that the line about new weights names, of those that gained and of those that lost."""


def tell(
    step: int,
    balancer: Balancer,
    weights: NDArray[np.float64],
    capped: NDArray[np.bool_],
    stopped: Mapping[str, Stop],
) -> None:
    """Say what new weights are like.

    Args:
        step: that was just made.
        balancer: has the new weights.
        weights: the old ones, float64[datasets, levels].
        capped: which cells were capped, bool[datasets * levels].
        stopped: datasets that overfitted.
    """
    for name, stop in stopped.items():
        tqdm.write(encodable(f"hbo: {stop.told(name)}."))
    cells = balancer.cells
    tell_capped(step, balancer, capped | np.repeat([name in stopped for name in cells.names], cells.levels))
    before, after = weights.sum(axis=1), balancer.weights().sum(axis=1)
    order = np.argsort(before - after, kind="stable")
    shown = order if order.size <= 2 * _SHOWN else [*order[:_SHOWN], *order[-_SHOWN:]]
    moved = ", ".join(f"{cells.names[each]} {before[each]:.1%} → {after[each]:.1%}" for each in shown)
    tqdm.write(encodable(f"hbo: step {step}: {moved}"))


def tell_capped(step: int, balancer: Balancer, before: NDArray[np.bool_]) -> None:
    """Warn of datasets that the cap has begun to lower, given the cells that it lowered before, bool[datasets * levels]."""
    new = (balancer.capped & ~before).reshape(balancer.cells.sizes.shape).any(axis=1)
    asked, capped = (weights.sum(axis=1) for weights in (balancer.method.weights(), balancer.weights()))
    # Where all caps together are too small for the run, some weights rise.
    for index in np.flatnonzero(new & (capped < asked)):
        was, is_now = (f"{weights[index]:.1%}" for weights in (asked, capped))
        if was != is_now:  # target first asks for what the cap leaves, up to a row
            LOG.warning(
                "hbo: from step %d on, `max_epochs` lowers the weight of dataset `%s` from %s to %s; "
                "the others take the rest.",
                *(step, balancer.cells.names[index], was, is_now),
            )
