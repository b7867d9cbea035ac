"""Layers: the gradient of each row of a training batch, sketched from what the training's own passes compute."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hbo_plugin.clock import Clock

SKETCH = 1024
"""Numbers that stand for the gradient of a row."""
_SIDE = 32
"""Numbers that stand for each side of a weight matrix, where both sides are so long."""


class LayerGradients:
    """Watches the linear layers and embeddings that are trained, in one micro-batch after the other.

    The gradient of a row's loss by a weight matrix is `sum_t g_t x_t^T` over the row's tokens, where `x` is what the
    layer was given and `g` the gradient at its output. Training computes both. With random signs in `U` and `V`, scaled
    by their numbers, `sum_t (U g_t)(V x_t)^T` has the same square on average, and costs little where `U` and `V` are
    narrow. The parts of all layers are added up, each under random signs of its own, which keeps their squares apart.
    """

    def __init__(self, clock: Clock) -> None:
        """Watch nothing yet; `clock` counts what watching takes."""
        self._clock = clock
        self._random: dict[tuple[Any, ...], torch.Tensor] = {}
        self._tokens = 0
        self._places: torch.Tensor | None = None
        self.sketches = torch.zeros((0, SKETCH))
        """Of each row of the micro-batch, the sketch of the gradient that was passed back, float32[rows, SKETCH]."""

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Watch a model while open: its forward pass, `expect`, and its backward pass."""
        self._places = None
        numbers: dict[int, int] = {}  # layers may share their weight
        handles = []
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Embedding) and layer.weight.requires_grad:
                number = numbers.setdefault(id(layer.weight), len(numbers))
                # Before other hooks: one that puts its own output in place of the layer's may scale what comes back.
                handles.append(layer.register_forward_hook(partial(self._forward, number), prepend=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def expect(self, owners: NDArray[np.int64], rows: int, device: Any) -> None:
        """Say whose tokens these are, between the two passes.

        Args:
            owners: the row of each token, -1 for padding, int64[sequences, tokens].
            rows: how many there are.
            device: of the model.
        """
        self._tokens = owners.size
        self._places = torch.as_tensor(places_of(owners.ravel(), rows)).to(device, non_blocking=True)
        self.sketches = torch.zeros((rows, SKETCH), device=device)

    def _forward(self, number: int, layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # Reentrant checkpointing runs a part twice, the first time without gradients.
        if not output.requires_grad:
            return
        with self._clock("signals"), torch.no_grad():
            if isinstance(layer, nn.Embedding):  # it is given which rows of its weight to return
                sides, side = _sides(layer.num_embeddings, layer.embedding_dim), 1
                given = self._signs(0, layer.num_embeddings, sides[0], output)[args[0].flatten()]
            else:
                sides, side = _sides(layer.out_features, layer.in_features), 0
                given = self._shortened(args[0], 1, sides[1])
        output.register_hook(partial(self._backward, number, given, side, sides[side]))

    @torch.no_grad()
    def _backward(self, number: int, given: torch.Tensor, side: int, numbers: int, gradient: torch.Tensor) -> None:
        """Add the sketch of a layer, whose weight has the gradient on this side and what it was given on the other."""
        # An expert is given some of the tokens and does not say which.
        if self._places is None or len(given) != self._tokens:
            return
        with self._clock("signals"):
            passed = self._shortened(gradient, side, numbers)
            left, right = (given, passed) if side else (passed, given)
            found = (self._by_row(left).transpose(1, 2) @ self._by_row(right)).flatten(1)
            self.sketches[:, : found.shape[1]] += found * self._signs(2 + number, 1, found.shape[1], found)

    def _shortened(self, values: torch.Tensor, kind: int, numbers: int) -> torch.Tensor:
        """So many numbers for each token, [tokens, numbers]."""
        flat = values.detach().flatten(0, -2)
        return flat if flat.shape[1] == numbers else flat @ self._signs(kind, flat.shape[1], numbers, flat)

    def _by_row(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens of each row, float32[rows, longest, numbers], zeros where a row has fewer."""
        return torch.cat([tokens, tokens.new_zeros((1, tokens.shape[1]))])[self._places].float()

    def _signs(self, kind: int, long: int, numbers: int, like: torch.Tensor) -> torch.Tensor:
        """Random signs by which `long` numbers become fewer, float[long, numbers], the same in every process."""
        key = (kind, long, numbers, like.dtype, like.device)
        if key not in self._random:
            rng = np.random.default_rng([kind, long, numbers])
            signs = rng.choice(np.array([-1, 1], np.float32), (long, numbers))
            if long > 1:  # a side of a matrix, and not the signs of a layer
                signs = np.eye(long, dtype=np.float32) if numbers == long else signs / numbers**0.5
            self._random[key] = torch.as_tensor(signs, dtype=like.dtype, device=like.device)
        return self._random[key]


def _sides(long: int, wide: int) -> tuple[int, int]:
    """How many numbers stand for each side of a matrix; all of a side that is short."""
    if long <= _SIDE:
        return long, min(wide, SKETCH // long)
    if wide <= _SIDE:
        return min(long, SKETCH // wide), wide
    return _SIDE, _SIDE


def places_of(owners: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """The places of each row's tokens, int64[rows, longest]; the number of places where a row has fewer.

    Args:
        owners: the row of each token, -1 for padding, int64[tokens].
        rows: how many there are.
    """
    order = np.argsort(owners, kind="stable")
    order = order[owners[order] >= 0]
    counts = np.bincount(owners[order], minlength=rows)
    within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = np.full((rows, int(counts.max(initial=0))), len(owners))
    places[owners[order], within] = order
    return places
