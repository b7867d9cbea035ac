"""Sketches of rows' gradients: their products are those of the gradients, however the batch is made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from hbo_plugin.clock import Clock  # noqa: E402
from hbo_plugin.signals.layers import LayerGradients  # noqa: E402
from hbo_plugin.signals.tokens import owners_of  # noqa: E402

SHORT = 12


class Tied(nn.Module):
    """An embedding whose weight is that of the head too, with two small layers between; all are kept whole."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(SHORT, 5)
        self.down, self.up = nn.Linear(5, 3, bias=False), nn.Linear(3, 5, bias=False)
        self.head = nn.Linear(5, SHORT, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Any) -> Any:
        return self.head(self.up(torch.tanh(self.down(self.embed(ids)))))


def loss_of(model: Any, ids: Any) -> Any:
    output = model(ids[None])
    logits = output.logits if hasattr(output, "logits") else output
    return functional.cross_entropy(logits[0, :-1], ids[1:], reduction="sum")


def gradients_of(model: Any, ids: Any, weights: list[Any]) -> Any:
    """Of the summed loss of one row, as one vector."""
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss_of(model, ids), weights)])


def sketched(model: Any, rows: list[Any]) -> Any:
    """Of rows padded on the right to one batch."""
    layers = LayerGradients(Clock())
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
    lengths = np.array([len(row) for row in rows], np.int32)
    with layers.watching(model):
        output = model(ids)
        logits = output.logits if hasattr(output, "logits") else output
        layers.expect(
            owners_of((len(ids), ids.shape[1]), [[row] for row in range(len(rows))], lengths, left=False),
            len(rows),
            "cpu",
        )
        functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").backward()
    return layers.sketches


def scaled(logits: Any, factors: Any) -> Any:
    """About the same numbers; the gradient that comes back is multiplied by the factors."""
    return logits * factors + (logits * (1 - factors)).detach()


def rows_of(tokens: int) -> list[Any]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(1, tokens, (4 + row % 3,), generator=generator) for row in range(8)]


@pytest.mark.parametrize("weights", [("down",), ("up",), ("embed",)])
def test_a_small_layer_is_kept_whole(weights: tuple[str, ...]) -> None:
    """`embed` is used twice: its gradient is the sum of both."""
    model, rows = Tied(), rows_of(SHORT)
    model.requires_grad_(requires_grad=False)
    trained = [getattr(model, name).weight.requires_grad_() for name in weights]
    exact = torch.stack([gradients_of(model, row, trained) for row in rows])
    found = sketched(model, rows)
    torch.testing.assert_close(found @ found.T, exact @ exact.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("checkpointing", [None, True, False])
def test_a_model_s_gradients_keep_their_lengths(tiny_model: Path, checkpointing: bool | None) -> None:  # noqa: FBT001
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    rows = rows_of(300)
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
    exact = torch.stack([gradients_of(model, row, weights) for row in rows]).norm(dim=1)
    model.train()
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
    ratio = sketched(model, rows).norm(dim=1) / exact
    assert ratio.shape == (8,)
    assert 0.9 < float(ratio.mean()) < 1.1
    assert float(ratio.std()) < 0.1
    assert not any(module._forward_hooks for module in model.modules() if isinstance(module, nn.Linear))


def test_watching_changes_no_gradient(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    rows, gradients = rows_of(300), []
    for watched in (False, True):
        model = AutoModelForCausalLM.from_pretrained(tiny_model)
        if watched:
            sketched(model, rows)
        else:
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
            labels = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
            logits = model(ids).logits
            functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_what_scales_the_logits_gradient_scales_the_sketches() -> None:
    """Also those of the layer that gives the logits, though the hook was there before."""
    model, rows = Tied(), rows_of(SHORT)
    model.requires_grad_(requires_grad=False)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    exact = torch.stack([gradients_of(model, row, [model.head.weight]) for row in rows])
    factors = torch.arange(1.0, 9.0)
    model.head.register_forward_hook(lambda _layer, _given, logits: scaled(logits, factors[:, None, None]))
    found = sketched(model, rows)
    wanted = factors[:, None] * exact
    torch.testing.assert_close(found @ found.T, wanted @ wanted.T, rtol=1e-4, atol=1e-5)
