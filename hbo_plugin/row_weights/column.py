"""Row weights from a column of the data: the number that a row has there, divided by the mean of its step."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.row_weights.base import RowWeights, SeenRows

LOG = logging.getLogger(__name__)


class ColumnWeights(RowWeights):
    """Weighs a row by a number of its own, which stays as it is for the whole run.

    The loss of a step is a mean over its trained tokens. So is the mean that the numbers are divided by, and the weights
    of a step have the mean 1 over its trained tokens: they say which rows count more, and leave the size of the step to
    the learning rate.

    Attributes:
        empty_steps: how many steps had no token to learn in rows whose number is above 0, so that no gradient came of them.
    """

    def __init__(self, values: NDArray[np.float64], trained: NDArray[np.int32], *, normalise: bool) -> None:
        """Weigh nothing yet.

        Args:
            values: of each row of the training set, finite and 0 or more, float64[rows].
            trained: tokens of each that the model learns to predict, int32[rows].
            normalise: whether the numbers are divided by their mean over the step; otherwise they are the weights.
        """
        self._values, self._trained, self._normalise = values, trained, normalise
        self._mean = 1.0
        self.empty_steps = 0

    def begin_step(self, step: int, rows: NDArray[np.int64]) -> None:
        """Find the mean of these rows; see `RowWeights.begin_step`."""
        values, tokens = self._values[rows], self._trained[rows]
        # Shares, so that no sum overflows however large the numbers are.
        mean = float(values @ (tokens / max(1, tokens.sum())))
        self._mean = mean if self._normalise and mean else 1.0
        if not mean:
            self._count_empty(step)

    def _count_empty(self, step: int) -> None:
        """Warn of the first step that nothing is learned from, and then at each power of ten."""
        self.empty_steps += 1
        if str(self.empty_steps).rstrip("0") == "1":
            LOG.warning(
                "hbo: no row of step %d has a row weight above 0 and a token to learn, so nothing is learned from it (%d such "
                "steps so far).",
                step,
                self.empty_steps,
            )

    def weights(self, rows: SeenRows) -> NDArray[np.float64]:
        """Return the factor of each row; see `RowWeights.weights`."""
        return self._values[rows.row] / self._mean

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps were empty, and by which numbers the rows are weighed."""
        digest = hashlib.blake2b(self._values.tobytes(), digest_size=16).hexdigest()
        return {"empty_steps": self.empty_steps, "digest": digest}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on counting; ValueError where the rows had other numbers."""
        if state["digest"] != self.state_dict()["digest"]:
            msg = (
                "the numbers in the column of `hbo.row_weights` are not those of the checkpoint; restore the data, or "
                "start afresh in another `output_dir`."
            )
            raise ValueError(msg)
        self.empty_steps = state["empty_steps"]
