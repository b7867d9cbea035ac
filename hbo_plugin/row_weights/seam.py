"""Seam: where row weights act. The gradient of each token's logits is scaled, at the layer that the logits come from."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hbo_plugin.clock import Clock


class Seam:
    """Scales gradients in the backward pass of a training micro-batch, and nothing else.

    However the loss is divided, over micro-batches and over ranks, a token's part of it comes back through the logits that
    predict the token. So their gradient is the place where a factor on a row is exact, and the loss itself stays as it is.
    """

    def __init__(self, clock: Clock) -> None:
        """Act on no model yet; `clock` counts what scaling takes."""
        self._clock = clock
        self._factors: torch.Tensor | None = None
        self._open, self._acted = False, False

    def attach(self, model: Any) -> None:
        """Act on a causal language model from now on; ValueError where it has no layer for its logits."""
        layer = model.get_output_embeddings()
        if layer is None:
            msg = (
                f"`{type(model).__name__}` does not say which layer its logits come from, where `hbo.row_weights` acts; "
                f"remove `row_weights`, or train another model."
            )
            raise ValueError(msg)
        layer.register_forward_hook(self._forward)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Act while open: a micro-batch's forward pass, `expect`, and its backward pass; a RuntimeError if nothing came back."""
        self._open, self._acted, self._factors = True, False, None
        try:
            yield
        finally:
            self._open = False
        if not self._acted:
            msg = (
                "no gradient came back to the layer that logits come from, so `hbo.row_weights` had no effect; remove what "
                "computes another loss, or remove `row_weights`."
            )
            raise RuntimeError(msg)

    def expect(self, factors: torch.Tensor) -> None:
        """Give the factors, between the two passes: of the prediction made at each token, float32[sequences, tokens]."""
        self._factors = factors

    def _forward(self, layer: Any, args: Any, logits: torch.Tensor) -> torch.Tensor | None:
        if not self._open or not logits.requires_grad:
            return None
        scaled: torch.Tensor = _Scaled.apply(logits, self)
        return scaled

    def scaled(self, gradient: torch.Tensor) -> torch.Tensor:
        """A gradient of logits, [sequences, tokens, vocabulary], times its factors."""
        found = None if self._factors is None else tuple(self._factors.shape)
        if self._factors is None or found != tuple(gradient.shape[:2]):
            msg = (
                f"the logits are for {tuple(gradient.shape[:2])} sequences and tokens, but `hbo.row_weights` has factors for "
                f"{found}; remove what keeps logits of some tokens only, or remove `row_weights`."
            )
            raise RuntimeError(msg)
        self._acted = True
        with self._clock("signals"):
            return gradient * self._factors[..., None].to(gradient.device, gradient.dtype)


class _Scaled(torch.autograd.Function):
    """The same logits; on the way back, their gradient is scaled."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, seam: Seam) -> torch.Tensor:
        ctx.seam = seam
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.seam.scaled(gradient), None
