"""The table of signals. What measures them is elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Signal(NamedTuple):
    """What a signal is."""

    per_cell: bool
    """True: float64[datasets, levels]. False: float64[datasets]."""
    meaning: str
    """What one value is, with its unit."""


SIGNALS: Mapping[str, Signal] = {
    "gradient_norm": Signal(
        per_cell=False, meaning="L2 norm of the gradient of the mean loss of a sample of rows, nats / parameter unit"
    ),
    "gradient_variance": Signal(
        per_cell=False,
        meaning="trace of the covariance of the gradients of single rows' mean losses, the square of that unit",
    ),
    "gradient_alignment": Signal(
        per_cell=False, meaning="mean cosine of the dataset's gradient with that of each held-out set, -1 to 1"
    ),
    "similarity": Signal(
        per_cell=False, meaning="mean cosine of the dataset's mean hidden state with that of each dataset, -1 to 1"
    ),
    "loss": Signal(per_cell=True, meaning="mean loss a token of the answer, nats"),
    "perplexity_ratio": Signal(
        per_cell=True, meaning="geometric mean over rows of the perplexity now over that at the start, a ratio"
    ),
    "entropy": Signal(per_cell=True, meaning="mean entropy a token of the predictions on the answer, nats"),
    "held_out_loss": Signal(per_cell=False, meaning="mean loss a token of the held-out rows, nats"),
    "look_ahead": Signal(
        per_cell=False, meaning="relative drop of the loss after a virtual step on the dataset, a share"
    ),
}
"""Every signal by its name."""
