"""Layout: which rows of a dataset are trained on, in which order and level. Arithmetic only, on row numbers."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def split(rows: int, held_out: int, seed: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the rows that are held out.

    Returns:
        The other rows and these, each int64 and ascending.
    """
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def cut_levels(scores: NDArray[np.float64], levels: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows by difficulty and cut them into levels of near-equal size; no row is dropped.

    Ties keep the order of the data, so that the cut does not depend on the sorting algorithm. A row without a score
    (NaN) is placed at the median of the others: it is neither easy nor hard.

    Args:
        scores: float64[rows], larger is harder.
        levels: number of slices, at most the number of rows.

    Returns:
        The rows from easiest to hardest, int64[rows], and the rows of each level, int64[levels].
    """
    known = scores[~np.isnan(scores)]
    middle = np.median(known) if known.size else 0.0
    order = np.argsort(np.where(np.isnan(scores), middle, scores), kind="stable")
    sizes = np.diff(np.arange(levels + 1) * len(scores) // levels)
    return order, sizes


def fingerprint(digest: str, order: NDArray[np.int64], levels: NDArray[np.int64]) -> str:
    """A digest of a dataset's training rows in their order.

    Args:
        digest: of the dataset's rows before the split.
        order: the rows that are trained on, from easiest to hardest, int64[rows].
        levels: rows of each level, int64[levels].
    """
    stamp = digest.encode() + order.tobytes() + levels.tobytes()
    return hashlib.blake2b(stamp, digest_size=16).hexdigest()
