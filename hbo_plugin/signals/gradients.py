"""Gradients of the mean loss of some rows: how long, how variable, where they point, and what a step along them does."""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from hbo_plugin.ranks import Ranks
from hbo_plugin.signals.padding import by_length, pad
from hbo_plugin.signals.passes import answer_loss

_PARTS = 8
"""Parts of a sample whose gradients are compared for its variance."""
_TINY = 1e-8
_PIECE = 1 << 22
"""Numbers of which there is a float64 copy at a time: one of all would take 8 GB for a large embedding."""

Rows = Sequence[dict[str, Any]]


class Gradients:
    """Of the parameters that are trained; clear before and after."""

    def __init__(self, model: Any, budget: int) -> None:
        """Measure nothing yet.

        Args:
            model: with no gradients.
            budget: padded tokens a batch.
        """
        self._model = model
        self._budget = budget

    def norm(self, rows: Rows) -> float:
        """L2 norm (HBO, arXiv 2505.12300, section 3.2)."""
        return math.sqrt(square(self._gradient(rows)[1]))

    def row_norm(self, rows: Rows) -> float:
        """Mean over rows of the norm of one row's gradient, prompt included, as the code of HBO takes it."""
        whole = [{**row, "labels": row["input_ids"]} for row in rows]
        return float(np.mean([self.norm([row]) for row in whole]))

    def variance(self, rows: Rows) -> float:
        """Trace of the covariance of the gradients of single rows (PiKE, arXiv 2502.06244), from those of parts."""
        parts = [part for part in np.array_split(np.arange(len(rows)), _PARTS) if len(part)]
        if len(parts) < 2:
            return float("nan")
        squares, total = 0.0, None
        for part in parts:
            _, gradient = self._gradient([rows[index] for index in part])
            squares += square(gradient)
            total = gradient if total is None else [sum_.add_(part) for sum_, part in zip(total, gradient, strict=True)]
        # The variance of the mean of m rows is that of one row over m.
        between = (squares - square(total or []) / len(parts)) / (len(parts) - 1)
        return between * len(rows) / len(parts)

    def mean_direction(self, samples: Iterable[tuple[Rows, float]]) -> list[torch.Tensor]:
        """The mean of the unit gradients of some samples by their shares; its product with another is the mean cosine."""
        total: list[torch.Tensor] = []
        for rows, share in samples:
            _, gradient = self._gradient(rows)
            scale = share / math.sqrt(square(gradient))
            scaled = [part.mul_(scale) for part in gradient]
            total = [sum_.add_(part) for sum_, part in zip(total, scaled, strict=True)] if total else scaled
        return total

    def alignment(self, rows: Rows, reference: Sequence[torch.Tensor]) -> float:
        """Mean cosine with the gradients that `reference` is the mean direction of (MultiDDS-S, arXiv 2004.06748)."""
        _, gradient = self._gradient(rows)
        return product(gradient, reference) / math.sqrt(square(gradient))

    def look_ahead(self, rows: Rows, rate: float) -> float:
        """Relative drop of the loss by a step of plain gradient descent, to first order (DynamixSFT, arXiv 2508.12116).

        The paper does not say which step. To take it and measure again would show the rounding of the weights and of
        the loss where a step is small: in bfloat16 most weights do not move by one at all.
        """
        loss, gradient = self._gradient(rows)
        return rate * square(gradient) / (loss + _TINY)

    def _gradient(self, rows: Rows) -> tuple[float, list[torch.Tensor]]:
        """Mean loss a token and its gradient by each trained parameter."""
        loss, tokens, gradient = self.summed(rows)
        # The mean over tokens, applied after the fact: their number is known only at the end.
        scale = 1 / tokens if tokens else float("nan")
        return loss * scale, [part.mul_(scale) for part in gradient]

    def summed(self, rows: Rows) -> tuple[float, int, list[torch.Tensor]]:
        """Summed loss, its tokens, and its gradient by each trained parameter, zeros where there is none."""
        loss, total = 0.0, 0
        for sums, tokens in self._batches(rows):
            sums.sum().backward()
            loss += float(sums.detach().sum())
            total += int(tokens.sum())
        gradient = [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in trained_of(self._model)]
        self._model.zero_grad(set_to_none=True)
        return loss, total, gradient

    def _batches(self, rows: Rows) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
        for batch in by_length(lengths, self._budget):
            yield answer_loss(self._model, pad([rows[index] for index in batch]))


def trained_of(model: Any) -> list[torch.nn.Parameter]:
    """The parameters that are trained, in the order of the model, each once."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def square(gradient: Sequence[torch.Tensor]) -> float:
    """The square of its L2 norm."""
    return product(gradient, gradient)


def product(gradient: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> float:
    """The inner product of two gradients by the same parameters, added up in float64."""
    pieces = (pair for both in zip(gradient, other, strict=True) for pair in zip(*map(_pieces, both), strict=True))
    return float(sum((piece.double() * of_other.double()).sum().cpu() for piece, of_other in pieces))


def add_over_ranks(gradient: Sequence[torch.Tensor], ranks: Ranks) -> None:
    """Put in the place of a gradient the sum of those of all ranks, added up in float64; every process calls it."""
    if ranks.size > 1:
        for piece in chain.from_iterable(map(_pieces, gradient)):
            piece.copy_(torch.from_numpy(ranks.sum(piece.double().cpu().numpy())))


def _pieces(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """Views of a tensor that make it up."""
    return tensor.split(max(1, _PIECE * len(tensor) // max(1, tensor.numel()))) if tensor.dim() else (tensor,)
