"""The rank check: ranks that no longer draw one stream stop, instead of training on different mixtures."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.ranks import Ranks

_COMPARED = ("step", "weights", "head of the stream", "rows", "data")


class RankCheck:
    """Compares what every rank must have in common with rank 0, and works out for itself."""

    def __init__(self, ranks: Ranks, fingerprints: Sequence[str]) -> None:
        """Nothing was trained on yet.

        Args:
            ranks: this one among the others.
            fingerprints: a digest of each dataset's rows: nodes without a common disk may hold other rows.
        """
        self._ranks = ranks
        self._data = _number(hashlib.blake2b("\n".join(fingerprints).encode(), digest_size=8))
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
        # Gathered, and not summed: a sum could agree by chance, and would not show every rank who differs.
        values = self._ranks.gather([step, _number(stamp), head, _number(self._rows), self._data])
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
