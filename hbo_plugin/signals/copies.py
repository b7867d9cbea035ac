"""Copies: what is trained, carried a few steps further once without held-out rows and once with those of each set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hbo_plugin.signals.gradients import Gradients, add_over_ranks, square, trained_of
from hbo_plugin.signals.padding import fetch
from hbo_plugin.signals.passes import mean_losses, undisturbed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context

_PACE = 0.3
"""Length of a copy's step, in learning rates a parameter: about what a step of AdamW moves."""
_ERRORS = 2.0
"""A held-out loss has fallen where it fell by more than so many standard errors."""
_TINY = 1e-30


@dataclass(frozen=True)
class Draw:
    """What the copies make one step on.

    Attributes:
        rows: of the training set, int64[n].
        held_out: rows of each held-out set of the target, int64[n], by its name.
    """

    rows: NDArray[np.int64]
    held_out: Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Gains:
    """How much lower the losses of single rows are in the copies that saw a held-out set than in the blind one, in nats.

    Attributes:
        sample: of rows of the training set, float64[sets of the target, rows].
        held_out: of the steering rows of each set, float64[rows]; NaN, here and there, for a row without an answer.
    """

    sample: NDArray[np.float64]
    held_out: Sequence[NDArray[np.float64]]

    @property
    def dropped(self) -> int:
        """How many are not finite."""
        return sum(int((~np.isfinite(values)).sum()) for values in (self.sample, *self.held_out))

    def signals(self, dataset: NDArray[np.int64], datasets: int) -> dict[str, NDArray[np.float64]]:
        """The signals that follow, each float64[datasets, sets of the target].

        Args:
            dataset: of each row of the sample, int64[rows].
            datasets: how many there are.
        """
        of_sets = np.array([_mean_and_error(gains) for gains in self.held_out])
        of_pairs = [[_mean_and_error(gains[dataset == each]) for gains in self.sample] for each in range(datasets)]
        gain, error = np.moveaxis(np.array(of_pairs), 2, 0)
        drop = np.where(of_sets[:, 0] > _ERRORS * of_sets[:, 1], of_sets[:, 0], np.nan)
        return {"copy_gain": gain, "transfer": gain / drop, "transfer_variance": (error / drop) ** 2}


def _mean_and_error(values: NDArray[np.float64]) -> tuple[float, float]:
    """The mean of what is finite and its standard error; NaN where there are too few."""
    known = values[np.isfinite(values)]
    mean = float(known.mean()) if known.size else math.nan
    return mean, float(known.std(ddof=1)) / math.sqrt(known.size) if known.size > 1 else math.nan


def measure_gains(context: Context, sample: NDArray[np.int64], draws: Sequence[Draw]) -> Gains:
    """Let copies step on the same draws from the same start, and compare their losses row by row.

    A step is one of gradient descent on the mean loss a token of the rows of a draw, to which a copy that sees a held-out
    set adds that of the set's rows: equation 5 of TANDEM (arXiv 2606.04401) at a penalty of 1. All copies have one rate. It
    makes the longest of their first steps as long as one of AdamW, and no later one is longer.

    Args:
        context: of the run, on whose model the copies are made, one after the other.
        sample: rows of the training set to compare, int64[rows].
        draws: the steps.
    """
    with undisturbed(context, gradient=True):
        copies = _Copies(context, draws)
        try:
            copies.begin()
            blind = copies.losses(sample, None)
            seeing = {name: copies.losses(sample, name) for name in context.target}
        finally:
            copies.restore()
    steering = blind[1:]
    return Gains(
        np.array([blind[0] - losses[0] for losses in seeing.values()]).reshape(len(seeing), len(sample)),
        [before - losses[1] for before, losses in zip(steering, seeing.values(), strict=True)],
    )


class _Copies:
    """The model in the place of one copy after the other."""

    def __init__(self, context: Context, draws: Sequence[Draw]) -> None:
        self._context, self._draws = context, draws
        self._gradients = Gradients(context.model, context.budget)
        self._trained = trained_of(context.model)
        self._start = [parameter.detach().clone() for parameter in self._trained]
        size = sum(parameter.numel() for parameter in self._trained)
        self._length = _PACE * context.learning_rate * math.sqrt(size)
        self._first: list[torch.Tensor] = []
        self._longest = math.nan

    def begin(self) -> None:
        """Find the gradient of the training rows at the start, which all copies share, and the longest of the first steps."""
        context, draws = self._context, self._draws
        self._first = self._mean(context.rows, draws[0].rows)
        norms = [math.sqrt(square(self._gradient(draws[0], name))) for name in (None, *context.target)]
        self._longest = max((norm for norm in norms if math.isfinite(norm)), default=math.nan)

    def losses(self, sample: NDArray[np.int64], name: str | None) -> list[NDArray[np.float64]]:
        """The mean loss of each row under the copy that sees a held-out set, or under the blind one.

        Returns:
            That of the sample, float64[rows], and that of the steering rows of the set; or of each set, for the blind one.
        """
        self.restore()
        # In single precision: of a step in bfloat16, most would be lost to rounding.
        moved = [torch.zeros_like(value, dtype=torch.float32) for value in self._start]
        for draw in self._draws:
            gradient = self._gradient(draw, name)
            scale = self._length / max(self._longest, math.sqrt(square(gradient)), _TINY)
            with torch.no_grad():
                for parameter, value, way, part in zip(self._trained, self._start, moved, gradient, strict=True):
                    parameter.copy_(value + way.sub_(part, alpha=scale))
        context = self._context
        steering = context.steering
        sets = [np.array(steering.sets[each]) for each in (context.target if name is None else (name,))]
        return [
            mean_losses(context, context.rows, sample, context.cells.lengths),
            *(mean_losses(context, steering.rows, rows, steering.lengths) for rows in sets),
        ]

    def restore(self) -> None:
        """Put back what was there: to go the steps back would round."""
        with torch.no_grad():
            for parameter, value in zip(self._trained, self._start, strict=True):
                parameter.copy_(value)
        self._context.model.zero_grad(set_to_none=True)

    def _gradient(self, draw: Draw, name: str | None) -> list[torch.Tensor]:
        """What a copy steps along."""
        context = self._context
        seen = self._first if draw is self._draws[0] else self._mean(context.rows, draw.rows)
        if name is None:
            return seen
        held_out = self._mean(context.steering.rows, draw.held_out[name])
        return [part.add_(other) for part, other in zip(held_out, seen, strict=True)]

    def _mean(self, dataset: Any, rows: NDArray[np.int64]) -> list[torch.Tensor]:
        """The gradient of the mean loss a token of rows that the ranks share, the same on each; NaN where no row has an answer."""
        ranks = self._context.ranks
        _, tokens, gradient = self._gradients.summed(fetch(dataset, rows[ranks.rank :: ranks.size]))
        total = float(ranks.sum(np.array([tokens], np.float64))[0])
        add_over_ranks(gradient, ranks)
        scale = 1 / total if total else math.nan
        return [part.mul_(scale) for part in gradient]
