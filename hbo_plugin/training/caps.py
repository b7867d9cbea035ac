"""The repetition cap: no cell may be drawn more often than its allowance, whatever a method asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cap_weights(
    weights: NDArray[np.float64], allowance: NDArray[np.float64], horizon: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the weights with no cell above its allowance, and which cells the cap holds down.

    What a bound cell may not have goes to the other cells in proportion to their weights ("water-filling"), until
    `weight * horizon <= allowance` (up to rounding) everywhere. Where no cell is bound, the weights come back bit
    for bit. Where all allowances together are less than the horizon, no weights can do that: every cell is bound
    and the weights are in proportion to the allowances; where nothing is left of those, they stay as given.

    Args:
        weights: float64[cells], 0 or more, sums to 1; a cell of weight 0 stays at 0.
        allowance: float64[cells], what a cell may still give, in rows (`max_epochs * rows - rows given so far`) or in
            tokens, as the weights are shares of rows or of tokens; below 0 counts as 0, infinity is no cap.
        horizon: rows or tokens still to come, 0 or more.

    Returns:
        The capped weights, float64[cells], sums to 1; and bool[cells], true where the cap binds.
        Any other shape than [cells] comes back as it came, such as [datasets, levels].
    """
    live = weights > 0
    left = np.where(live, np.maximum(allowance, 0), 0)
    if left.sum() < horizon:
        return (left / left.sum() if left.any() else weights.copy()), live
    draws = weights * horizon
    bound = np.zeros_like(live)
    # Binding a cell raises all others, so a cell once bound stays bound, and each pass binds one more or is the last.
    while (over := live & ~bound & (draws > left)).any():
        bound |= over
        free = live & ~bound
        rest = max(horizon - left[bound].sum(), 0.0)
        draws = left.copy()
        draws[free] = rest * (weights[free] / weights[free].sum())
    return (draws / draws.sum() if bound.any() else weights.copy()), bound
