"""Influence: by how much a step on a row of the training set would lower the target's held-out loss, to first order.

That is `<v, gradient of the loss of the row, summed over its answer's tokens>`, where `v` is the gradient of the
held-out loss: of the sum over the target's sets of a set's share times its mean loss a token.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hbo_plugin.signals.gradients import add_over_ranks, square, trained_of
from hbo_plugin.signals.padding import answer_tokens, by_length, fetch, pad
from hbo_plugin.signals.passes import answer_loss, exchanged, pass_over, undisturbed
from hbo_plugin.signals.probes import generator, some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context

_DRAWS = 5
"""The use of random numbers that held-out rows are drawn by; see `generator`."""

_TRIES = 3
_CHANGE = (0.07, 0.1)
"""Nats a token by which a step of a difference changes the losses of rows: less drowns in rounding, more is not straight."""
_FIRST, _SHORTEST, _LONGEST = 1e-3, 1e-6, 0.1
"""Steps of a difference, in lengths of what is trained."""


def held_out_gradient(context: Context, step: int) -> list[torch.Tensor]:
    """The gradient of the target's held-out loss on some steering rows of each set, which the step chooses.

    Args:
        context: of the run, whose model has no gradients; it has none afterwards.
        step: of the run.

    Returns:
        Of each trained parameter, of its shape and type and on its device; the same on every rank.
    """
    ranks, trained = context.ranks, trained_of(context.model)
    rows, counts = _held_out(context, step)
    rows, counts = rows[ranks.rank :: ranks.size], counts[ranks.rank :: ranks.size]
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    with undisturbed(context, gradient=True):
        for batch in by_length(lengths, context.budget):
            sums, _ = answer_loss(context.model, pad([rows[index] for index in batch]))
            (sums * torch.as_tensor(counts[batch], dtype=sums.dtype, device=sums.device)).sum().backward()
    gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    context.model.zero_grad(set_to_none=True)
    add_over_ranks(gradient, ranks)
    return gradient


def _held_out(context: Context, step: int) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """The sample, set after set, and what a token of each row counts, float64[rows]; all tokens of a set count its share."""
    steering, rng = context.steering, generator(context, step, _DRAWS)
    rows, counts = [], []
    for name, share in context.target.items():
        found = fetch(steering.rows, some_of(rng, steering.sets[name], context.gradient_rows))
        tokens = sum(map(answer_tokens, found))
        rows += found
        counts += [share / max(tokens, 1)] * len(found)
    return rows, np.array(counts)


def influence_by_difference(
    context: Context, v: Sequence[torch.Tensor], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The influence of these rows from forward passes alone: how their losses change along `v`, and against it.

    The step is chosen by what it does to the losses, since no fraction of the model's length suits all: in bfloat16 a
    short one is rounding noise. Where a head shares its weight with an embedding, a padding token inside a row has an
    effect here, while training leaves it out of the embedding's gradient.

    Args:
        context: of the run, whose model is the same afterwards, bit for bit.
        v: what `held_out_gradient` returned.
        rows: of the training set, those of all ranks, int64[n].

    Returns:
        float64[n], the same on every rank; 0 for a row without an answer, NaN for one whose losses are not finite, and
        for all where `v` is not.
    """
    length = math.sqrt(square(v))
    if not length or not math.isfinite(length):
        return np.full(len(rows), length if length == 0 else math.nan)
    size = max(math.sqrt(square([parameter.detach() for parameter in trained_of(context.model)])), 1.0)
    found, step = np.zeros(len(rows)), _FIRST * size
    for _ in range(_TRIES):
        half, tokens = _half_difference(context, v, step / length, rows)
        found = half / step * length
        known = np.isfinite(half) & (tokens > 0)
        change = float(np.abs(half[known] / tokens[known]).mean()) if known.any() else math.inf
        if _CHANGE[0] <= change <= _CHANGE[1]:
            break
        times = min(max(float(np.mean(_CHANGE)) / max(change, 1e-9), 0.01), 100.0)
        step = min(max(step * times, _SHORTEST * size), _LONGEST * size)
    return found


def _half_difference(
    context: Context, v: Sequence[torch.Tensor], scale: float, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half of what the summed loss of each row differs by between `scale * v` ahead and behind, and its tokens; float64[n]."""
    trained, lengths = trained_of(context.model), context.cells.lengths[rows]
    passed = []
    for way in (scale, -scale):
        # In single precision: what a bfloat16 rounds off, it rounds off once.
        moved = (p.detach().float().add(part, alpha=way) for p, part in zip(trained, v, strict=True))
        with exchanged(trained, moved):
            passed.append(pass_over(context, context.rows, rows, lengths, ("loss",)))
    ahead, behind = passed
    return (ahead.sums[0] - behind.sums[0]) / 2, ahead.tokens
