"""Score file: what a model found of each row of an entry, on disk, whole or as far as a killed run got."""

import hashlib
import io
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.data.files import write_whole

LOG = logging.getLogger(__name__)

UNSCORED = -np.inf
"""Stands for a row that was not scored yet; no score can be it."""


class ScoreFile:
    """The scores of so many rows, in a file with a digest; unfinished ones are in a file beside it."""

    def __init__(self, path: Path, rows: int) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._partial = path.with_suffix(".partial.npy")
        self._rows = rows

    def read(self) -> NDArray[np.float64]:
        """The scores, float64[rows], `UNSCORED` where there is none."""
        for path in (self._path, self._partial):
            if (scores := self._read(path)) is not None:
                return scores
        return np.full(self._rows, UNSCORED)

    def save(self, scores: NDArray[np.float64]) -> None:
        """Keep the scores, float64[rows].

        Raises:
            ValueError: the file cannot be written.
        """
        whole = not (scores == UNSCORED).any()
        content = io.BytesIO()
        np.save(content, scores)
        np.save(content, np.frombuffer(_digest(scores), np.uint8))
        try:
            write_whole(self._path if whole else self._partial, content.getvalue())
            if whole:
                self._partial.unlink(missing_ok=True)
        except OSError as error:
            msg = f"scores are kept in `{self._path.parent}`, which cannot be written ({error}); make it writable."
            raise ValueError(msg) from error

    def _read(self, path: Path) -> NDArray[np.float64] | None:
        """Scores from a file; None where it is missing, or damaged, with a warning."""
        if not path.exists():
            return None
        try:
            with path.open("rb") as file:
                scores, digest = np.load(file), np.load(file)
            if scores.shape == (self._rows,) and scores.dtype == np.float64 and digest.tobytes() == _digest(scores):
                return np.asarray(scores)
            reason = "it does not hold what was written"
        except (OSError, ValueError, EOFError) as error:
            reason = str(error)
        LOG.warning("hbo: `%s` is damaged (%s); these scores are computed again", path, reason)
        return None


def _digest(scores: NDArray[np.float64]) -> bytes:
    return hashlib.blake2b(scores.tobytes(), digest_size=16).digest()
