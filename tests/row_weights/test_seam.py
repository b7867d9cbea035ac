"""The place where row weights act: gradients are scaled there and only there, or an error says that they were not."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from hbo_plugin.clock import Clock  # noqa: E402
from hbo_plugin.row_weights.seam import Seam  # noqa: E402


class Model(nn.Module):
    """An embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)

    def get_output_embeddings(self) -> Any:
        return self.head

    def forward(self, ids: Any) -> Any:
        return self.head(self.embed(ids))


IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])
FACTORS = torch.tensor([[0.0, 2.0, 0.5], [1.0, 3.0, 1.0]])


def gradients(model: Any, loss: Any) -> list[Any]:
    return [*torch.autograd.grad(loss, [*model.parameters()])]


@pytest.mark.parametrize(
    ("precision", "agreement"),
    [
        (nullcontext, 1e-6),
        pytest.param(partial(torch.autocast, "cpu", torch.bfloat16), 0.02, marks=pytest.mark.bf16, id="bf16"),
    ],
)
def test_gradients_are_those_of_a_weighted_loss_and_the_loss_is_not_weighted(precision: Any, agreement: float) -> None:
    model, seam = Model(), Seam(Clock())
    with precision():
        plain = model(IDS).exp().sum(-1)
        wanted = gradients(model, (plain * FACTORS).sum())
    seam.attach(model)
    with precision(), seam.open():
        loss = model(IDS).exp().sum(-1)
        assert torch.equal(loss, plain)
        seam.expect(FACTORS)
        found = gradients(model, loss.sum())
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=agreement, atol=agreement / 10)


def test_outside_nothing_is_scaled() -> None:
    model, seam = Model(), Seam(Clock())
    wanted = gradients(model, model(IDS).exp().sum())
    seam.attach(model)
    with seam.open():
        loss = model(IDS).sum()
        seam.expect(FACTORS)
        gradients(model, loss)
    assert all(map(torch.equal, gradients(model, model(IDS).exp().sum()), wanted))


def test_a_loss_that_passes_by_is_an_error() -> None:
    model, seam = Model(), Seam(Clock())
    seam.attach(model)
    with pytest.raises(RuntimeError, match="no gradient came back to the layer that logits come from"), seam.open():
        gradients(model, (model.embed(IDS) @ model.head.weight.T + model.head.bias).sum())


def test_logits_of_other_tokens_are_an_error() -> None:
    model, seam = Model(), Seam(Clock())
    seam.attach(model)
    with seam.open():
        loss = model(IDS[:, :2]).sum()
        seam.expect(FACTORS)
        with pytest.raises(RuntimeError, match=r"\(2, 2\) sequences and tokens"):
            gradients(model, loss)
        gradients(model, model(IDS).sum())


def test_a_model_without_a_head_is_refused() -> None:
    model = Model()
    model.get_output_embeddings = lambda: None  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="does not say which layer its logits come from"):
        Seam(Clock()).attach(model)
