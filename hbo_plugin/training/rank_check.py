"""The rank check: ranks that no longer draw one stream stop, instead of training on different mixtures."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.ranks import Ranks

_COMPARED = ("step", "weights", "head of the stream", "rows")


class RankCheck:
    """Compares what every rank must have in common with rank 0, and works out for itself."""

    def __init__(self, ranks: Ranks) -> None:
        """Nothing was trained on yet."""
        self._ranks = ranks
        self._rows = hashlib.blake2b(digest_size=8)

    def count(self, rows: NDArray[np.int64]) -> None:
        """Note that a step trained on these rows, int64[rows of the step, on all ranks]."""
        self._rows.update(rows.tobytes())

    def compare(self, step: int, weights: NDArray[np.float64], head: int) -> None:
        """Compare the ranks, which all call it after the same step.

        Args:
            step: the optimizer step.
            weights: in force from `head` on.
            head: position of the next draw.

        Raises:
            RuntimeError: on every rank, where one differs from rank 0.
        """
        stamp = hashlib.blake2b(weights.tobytes(), digest_size=8)
        # Gathered, and not summed: a sum of four could agree by chance, and would not show every rank who differs.
        values = self._ranks.gather([step, _number(stamp), head, _number(self._rows)])
        differs = values != values[0]
        if differs.any():
            found = []
            for name, ranks in zip(_COMPARED, (np.flatnonzero(column) for column in differs.T), strict=True):
                if ranks.size:
                    found.append(f"the {name} of rank{'s' * (ranks.size > 1)} {', '.join(map(str, ranks))}")
            msg = (
                f"after step {step}, {' and '.join(found)} differ from rank 0's, but all ranks must train on one "
                f"mixture; give every rank the same configuration, data, checkpoint and versions, and resume."
            )
            raise RuntimeError(msg)


def _number(stamp: Any) -> int:
    return int.from_bytes(stamp.digest(), "little", signed=True)
