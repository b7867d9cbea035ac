"""Layer influence: that of each row of a training batch, from what the training's own passes compute; see `influence`."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from hbo_plugin.signals.gradients import trained_of
from hbo_plugin.signals.layers import places_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hbo_plugin.clock import Clock


def exact_by_layers(model: Any) -> bool:
    """Whether `LayerInfluence` sees all that is trained: weights and biases of linear layers and embeddings alone.

    It still sees nothing of a layer that a fused kernel goes past; see `options.without_layers`.
    """
    seen = {id(part) for layer in model.modules() if _plain(layer) for part in layer.parameters(recurse=False)}
    return all(id(parameter) in seen for parameter in trained_of(model))


class LayerInfluence:
    """Watches the layers that are trained, in one micro-batch after the other, for the influence of its rows.

    The gradient of a row's loss by a weight matrix is `sum_t g_t x_t^T` over the row's tokens, where `x` is what the
    layer was given and `g` the gradient at its output. Its product with the part `V` of `v` is `sum_t <g_t, V x_t>`:
    training computes `g` and `x`, and no row's gradient is ever built.
    """

    def __init__(self, model: Any, v: Sequence[torch.Tensor], clock: Clock) -> None:
        """Watch nothing yet.

        Args:
            model: that is trained.
            v: what `held_out_gradient` returned.
            clock: counts what watching takes.
        """
        self._model = model
        self._v = dict(zip(map(id, trained_of(model)), v, strict=True))  # layers may share their weight
        self._clock = clock
        self._unseen = set(self._v)  # parts of what is trained
        self._others = False  # whether a layer was given other tokens than those of the micro-batch
        self._of_tokens = torch.zeros(0, dtype=torch.float64)
        """What each token of the micro-batch adds to the influence of its row, float64[tokens]."""
        self._places = torch.zeros((0, 0), dtype=torch.int64)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the model while open: its forward pass, `expect`, and its backward pass."""
        self._unseen, self._others, self._of_tokens = set(self._v), False, self._of_tokens[:0]
        # Before other hooks: one that puts its own output in place of the layer's may scale what comes back.
        handles = [
            layer.register_forward_hook(self._forward, prepend=True)
            for layer in self._model.modules()
            if _plain(layer) and any(id(part) in self._v for part in layer.parameters(recurse=False))
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def expect(self, owners: NDArray[np.int64], rows: int) -> None:
        """Say whose tokens these are, between the two passes.

        Args:
            owners: the row of each token, -1 for padding, int64[sequences, tokens].
            rows: how many there are.
        """
        device = next(self._model.parameters()).device
        self._of_tokens = torch.zeros(owners.size, dtype=torch.float64, device=device)
        self._places = torch.as_tensor(places_of(owners.ravel(), rows)).to(device, non_blocking=True)

    @property
    def influence(self) -> torch.Tensor:
        """Of each row of the micro-batch, by the gradients that were passed back, with all that these were multiplied by.

        Returns:
            float64[rows], 0 for a row without an answer.
        """
        # A sum by `index_add_` would round otherwise from one time to the next on a GPU.
        return functional.pad(self._of_tokens, (0, 1))[self._places].sum(1)

    @property
    def complete(self) -> bool:
        """Whether the backward pass went through all that is trained, each time with the tokens of the micro-batch.

        Not where an expert is given some of them, where a layer's weight is used without calling the layer, or where
        something else than weights of linear layers and embeddings is trained. Then `influence` is not exact.
        """
        return not (self._unseen or self._others)

    def _forward(self, layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        # Reentrant checkpointing runs a part twice, the first time without gradients.
        if not output.requires_grad:
            return
        weight, bias = (self._v.get(id(getattr(layer, name, None))) for name in ("weight", "bias"))
        given = None
        if weight is not None:
            with self._clock("signals"), torch.no_grad():
                given = _kept(layer, weight, args[0], _kind(output))
        output.register_hook(partial(self._backward, layer, weight, bias, given))

    @torch.no_grad()
    def _backward(
        self,
        layer: Any,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        given: torch.Tensor | None,
        gradient: torch.Tensor,
    ) -> None:
        """Add what a layer adds, whose weight and bias have these parts of `v`."""
        passed = gradient.flatten(0, -2).to(_kind(gradient))
        # An expert is given some of the tokens and does not say which.
        if len(passed) != len(self._of_tokens):
            self._others = True
            return
        with self._clock("signals"):
            if weight is not None and given is not None:
                self._add(_of_weight(layer, weight, given, passed))
            if bias is not None:
                self._add(passed @ bias.to(passed))
        self._unseen -= {id(part) for part in layer.parameters(recurse=False)}

    def _add(self, of_tokens: torch.Tensor) -> None:
        self._of_tokens += of_tokens.to(self._of_tokens)


def _kept(layer: Any, v: torch.Tensor, given: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """What is kept until the backward pass: of `x` and `V x` the shorter one, [tokens, numbers], or the ids, int64[tokens]."""
    if isinstance(layer, nn.Embedding):
        return given.detach().flatten()
    flat = given.detach().flatten(0, -2)
    if layer.out_features >= layer.in_features:
        return flat
    with torch.autocast(flat.device.type, enabled=False):
        return functional.linear(flat.to(kind), v.to(kind))


def _of_weight(layer: Any, v: torch.Tensor, given: torch.Tensor, passed: torch.Tensor) -> torch.Tensor:
    """`<g_t, V x_t>` of each token, by what `_kept` returned; float32[tokens]."""
    if isinstance(layer, nn.Embedding):
        found = _products(v[given], passed)
        return found if layer.padding_idx is None else found * (given != layer.padding_idx)  # which is not trained
    return _products(given, passed if layer.out_features < layer.in_features else passed @ v.to(passed))


def _products(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left.float() * right.float()).sum(1)


def _kind(like: torch.Tensor) -> torch.dtype:
    """The type to multiply in; small numbers of `v` would be 0 in half precision."""
    return torch.float32 if like.dtype == torch.float16 else like.dtype


def _plain(layer: Any) -> bool:
    """Whether it does what a linear layer or an embedding does; subclasses may do more, such as scale what comes out."""
    return type(layer).forward in (nn.Linear.forward, nn.Embedding.forward)
