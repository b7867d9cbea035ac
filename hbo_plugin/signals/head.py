"""Head: the way from a decoder's last hidden states to logits, gone for the positions that are wanted."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hbo_plugin.signals.tokens import Logits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Head:
    """What a causal language model does with the last hidden states of its decoder.

    That is more than one layer: models scale or cap their logits, and adapters and kernels take the layer's place. So the
    model's own forward pass is run, with these states in place of what its decoder would return.
    """

    def __init__(self, model: Any) -> None:
        """Find the decoder.

        Args:
            model: of transformers, with an adapter or without.

        Raises:
            ValueError: it has no decoder apart from its head.
        """
        self._model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._decoder = getattr(self._model, "base_model", self._model)
        if self._decoder is self._model:
            msg = (
                f"`{type(self._model).__name__}` does not say which of its parts is the decoder, after which hbo measures; "
                f"train a causal language model of transformers, or choose `method: static`, which measures nothing."
            )
            raise ValueError(msg)
        self._output: type[Any] = tuple
        self._looks = True

    @property
    def options(self) -> dict[str, Any]:
        """What keeps a forward pass from computing the logits that nobody wants."""
        return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self._model.forward).parameters else {}

    @contextmanager
    def watching(self, look: Callable[[torch.Tensor], None]) -> Iterator[None]:
        """Hand the last hidden states of each forward pass to `look` while open, [sequences, tokens, width].

        That happens inside the pass, where the head of a model that is spread over ranks is whole.
        """

        def decoded(_decoder: Any, _args: Any, output: Any) -> None:
            if self._looks:
                self._output = type(output)
                look(output[0])

        handle = self._decoder.register_forward_hook(decoded)
        try:
            yield
        finally:
            handle.remove()

    def of(self, states: torch.Tensor) -> Logits:
        """The logits of last hidden states, [sequences, tokens, width], that were just looked at."""
        return Logits(states, self._logits, self._model.config.get_text_config().vocab_size)

    def _logits(self, states: torch.Tensor) -> torch.Tensor:
        """[n, vocabulary] of [n, width]."""
        # Without what accelerate puts around it: its autocast is open already, and to open it twice leaves it on for ever.
        forward = vars(self._model).get("_original_forward", self._model.forward)
        with self._given(states[None]):
            ids = torch.zeros((1, len(states)), dtype=torch.int64, device=states.device)
            logits: torch.Tensor = forward(input_ids=ids, use_cache=False).logits[0]
        return logits

    @contextmanager
    def _given(self, states: torch.Tensor) -> Iterator[None]:
        """Let the decoder return these states while open."""
        own = vars(self._decoder).get("forward")
        output = (states,) if self._output is tuple else self._output(last_hidden_state=states)
        self._decoder.forward = lambda *_, **__: output
        self._looks = False
        try:
            yield
        finally:
            self._looks = True
            if own is None:
                del self._decoder.forward
            else:
                self._decoder.forward = own
