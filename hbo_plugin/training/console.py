"""The console: what a run says while it trains, above the bar of its progress."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from hbo_plugin.messages import encodable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.history import Stop
    from hbo_plugin.training.balancer import Balancer

LOG = logging.getLogger(__name__)

_SHOWN = 2
"""Datasets that the line about new weights names, of those that gained and of those that lost."""
_LEAST = 1e-9
"""A share that is none."""


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
    now = balancer.weights()
    still = np.allclose(weights.sum(axis=1), now.sum(axis=1))
    moved = (still and _levels(cells.names, weights, now)) or _datasets(cells.names, weights, now)
    tqdm.write(encodable(f"hbo: step {step}: {moved}"))


def _datasets(names: Sequence[str], weights: NDArray[np.float64], now: NDArray[np.float64]) -> str:
    """The datasets whose weights moved most."""
    before, after = weights.sum(axis=1), now.sum(axis=1)
    order = np.argsort(before - after, kind="stable")
    shown = order if order.size <= 2 * _SHOWN else [*order[:_SHOWN], *order[-_SHOWN:]]
    return ", ".join(f"{names[each]} {before[each]:.1%} → {after[each]:.1%}" for each in shown)


def _levels(names: Sequence[str], weights: NDArray[np.float64], now: NDArray[np.float64]) -> str:
    """The levels that moved most inside their dataset, as shares of it; empty where none did."""
    before, after = (each / np.maximum(each.sum(axis=1, keepdims=True), _LEAST) for each in (weights, now))
    far = np.abs(after - before).max(axis=1)
    shown = [each for each in np.argsort(-far, kind="stable")[: 2 * _SHOWN] if far[each] > _LEAST]
    return ", ".join(f"levels of {names[each]} {_shares(before[each])} → {_shares(after[each])}" for each in shown)


def _shares(levels: NDArray[np.float64]) -> str:
    return " ".join(f"{share:.0%}" for share in levels)


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
