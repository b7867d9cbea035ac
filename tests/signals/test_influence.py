"""Influence of rows: from the training's own passes and from differences, against the gradient of each single row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from thread_ranks import OfTwo

torch = pytest.importorskip("torch")

from datasets import Dataset  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.clock import Clock  # noqa: E402
from hbo_plugin.ranks import Ranks  # noqa: E402
from hbo_plugin.signals.context import Context, HeldOutRows  # noqa: E402
from hbo_plugin.signals.influence import held_out_gradient, influence_by_difference  # noqa: E402
from hbo_plugin.signals.layer_influence import LayerInfluence, exact_by_layers  # noqa: E402
from hbo_plugin.signals.padding import pad  # noqa: E402
from hbo_plugin.signals.passes import pass_over  # noqa: E402
from hbo_plugin.signals.tokens import answers, owners_of  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


PAD = 7
"""A token that stands in rows too. An embedding that is told of it does not train it."""
SCALE = 0.37
"""What the loss is multiplied by before the backward pass."""


def row_of(rng: np.random.Generator, length: int) -> dict[str, Any]:
    ids = rng.integers(2, 40, length).tolist()
    ids[1] = PAD
    return {"input_ids": ids, "labels": [-100, -100, *ids[2:]]}


def rows_of(count: int, seed: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [row_of(rng, 5 + row % 4) for row in range(count)]


def model_of(folder: Path, **changes: Any) -> Any:
    """The tiny llama with weights large enough for attention to tell tokens apart."""
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig.from_pretrained(folder, initializer_range=0.1, **changes))


def of_linear_layers(folder: Path) -> Any:
    """All weights but those of the norms, with biases, and one layer of which the bias alone is trained."""
    model = model_of(folder, attention_bias=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" not in name and name != "model.layers.0.self_attn.q_proj.weight")
    return model


def of_tied_embeddings(folder: Path, pad_token_id: int | None = PAD) -> Any:
    model = model_of(folder, tie_word_embeddings=True, pad_token_id=pad_token_id)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("norm" not in name)
    return model


def with_adapter(folder: Path, **changes: Any) -> Any:
    """Adapters that have moved from where they begin, with dropout."""
    peft = pytest.importorskip("peft")
    options = {"r": 4, "target_modules": "all-linear", "lora_dropout": 0.3, **changes}
    model = peft.get_peft_model(model_of(folder), peft.LoraConfig(**options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


MODELS = [of_linear_layers, of_tied_embeddings, with_adapter]


def trained_of(model: Any) -> list[Any]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def direction(model: Any) -> list[Any]:
    torch.manual_seed(5)
    return [torch.randn_like(parameter) for parameter in trained_of(model)]


def answer_losses(model: Any, rows: list[dict[str, Any]]) -> Any:
    """The summed loss of the answer of each row of a padded batch."""
    batch = pad(rows)
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
    losses = functional.cross_entropy(logits.transpose(1, 2), batch["labels"][:, 1:], reduction="none")
    return losses.sum(1)


def products(model: Any, losses: Any, v: list[Any]) -> Any:
    """Of `v` with the gradient of each of these losses, float64[rows]."""
    found = []
    for loss in losses:
        parts = torch.autograd.grad(loss, trained_of(model), retain_graph=True, allow_unused=True)
        found.append(
            sum(
                (part.double() * other.double()).sum() for part, other in zip(parts, v, strict=True) if part is not None
            )
        )
    return torch.stack(found)


def scaled(logits: Any, factors: Any) -> Any:
    """About the same numbers; the gradient that comes back is multiplied by the factors."""
    return logits * factors + (logits * (1 - factors)).detach()


def train(layers: LayerInfluence, model: Any, rows: list[dict[str, Any]]) -> Any:
    """Both passes of a padded micro-batch; returns the influence of its rows."""
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    shape = (len(rows), int(lengths.max()))
    with layers.watching():
        losses = answer_losses(model, rows)
        layers.expect(owners_of(shape, [[row] for row in range(len(rows))], lengths, left=False), len(rows))
        (SCALE * losses.sum()).backward()
    assert layers.complete
    return layers.influence / SCALE


def assert_equal(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    assert float(wanted.abs().min()) > 0
    assert float((found - wanted).norm() / wanted.norm()) < tolerance


@pytest.mark.parametrize("checkpointing", [None, True, False])
@pytest.mark.parametrize("make", MODELS)
def test_training_tells_the_influence_of_its_rows(
    make: Callable[[Path], Any],
    tiny_model: Path,
    checkpointing: bool | None,  # noqa: FBT001
) -> None:
    """Of two micro-batches of one step, whose dropout is that of the calculation by single rows."""
    model = make(tiny_model).train()
    v, rows = direction(model), rows_of(9)
    assert exact_by_layers(model)
    parts = [rows[:5], rows[5:]]
    torch.manual_seed(11)
    wanted = [products(model, answer_losses(model, part), v) for part in parts]
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        model.enable_input_require_grads()
    torch.manual_seed(11)
    layers = LayerInfluence(model, v, clock := Clock())
    for part, each in zip(parts, wanted, strict=True):
        assert_equal(train(layers, model, part), each)
    assert clock.seconds["signals"] > 0
    assert not any(layer._forward_hooks for layer in model.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("make", MODELS)
def test_what_scales_the_logits_gradient_scales_the_influence(make: Callable[[Path], Any], tiny_model: Path) -> None:
    """Though it is a hook that was there before."""
    model = make(tiny_model).eval()
    v, rows = direction(model), rows_of(4)
    factors = torch.tensor([0.5, 2.0, 0.0, 1.0])
    wanted = products(model, answer_losses(model, rows), v) * factors
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda _layer, _given, logits: scaled(logits, factors[:, None, None]))
    found = train(LayerInfluence(model, v, Clock()), model, rows)
    assert found[2] == 0
    assert_equal(found[[0, 1, 3]], wanted[[0, 1, 3]])


@pytest.mark.parametrize("make", MODELS)
def test_rows_of_one_line_are_told_apart(make: Callable[[Path], Any], tiny_model: Path) -> None:
    """Two rows and three, packed, with padding at the end; one of them has no answer."""
    model = make(tiny_model).eval()
    v, rows = direction(model), rows_of(5)
    rows[3]["labels"] = [-100] * len(rows[3]["labels"])
    lines, length = [[0, 1], [2, 3, 4]], 24
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    owners = owners_of((2, length), lines, lengths, left=False)
    ids, labels, positions = (
        torch.full((2, length), PAD),
        torch.full((2, length), -100),
        torch.zeros((2, length)).long(),
    )
    for row, each in enumerate(rows):
        at = torch.as_tensor(owners == row)
        ids[at], labels[at] = torch.tensor(each["input_ids"]), torch.tensor(each["labels"])
        positions[at] = torch.arange(len(each["input_ids"]))
    whose = torch.as_tensor(owners)
    mask = (whose[:, :, None] == whose[:, None, :]).tril()[:, None]
    layers = LayerInfluence(model, v, Clock())
    with layers.watching():
        logits = model(ids, attention_mask=mask, position_ids=positions).logits
        layers.expect(owners, len(rows))
        at, _, targets = answers(labels.numpy(), owners)
        functional.cross_entropy(logits.flatten(0, 1)[at], torch.as_tensor(targets), reduction="sum").backward()
    wanted = products(model, torch.cat([answer_losses(model, [row]) for row in rows]), v)
    assert layers.influence[3] == wanted[3] == 0
    answered = [0, 1, 2, 4]
    assert_equal(layers.influence[answered], wanted[answered])


def test_mixed_precision_tells_about_the_same(tiny_model: Path) -> None:
    model = with_adapter(tiny_model).eval()
    v, rows = direction(model), rows_of(16)
    wanted = products(model, answer_losses(model, rows), v)
    with torch.autocast("cpu", torch.bfloat16):
        found = train(LayerInfluence(model, v, Clock()), model, rows)
    assert found.dtype == torch.float64
    assert_equal(found, wanted, 0.05)


@pytest.mark.parametrize("make", MODELS)
def test_watching_changes_no_gradient(make: Callable[[Path], Any], tiny_model: Path) -> None:
    gradients = []
    for watched in (False, True):
        model, rows = make(tiny_model).train(), rows_of(6)
        layers = LayerInfluence(model, direction(model), Clock())
        torch.manual_seed(2)
        if watched:
            train(layers, model, rows)
        else:
            (SCALE * answer_losses(model, rows).sum()).backward()
        gradients.append([*(parameter.grad for parameter in trained_of(model)), torch.get_rng_state()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


class ScaledEmbedding(nn.Embedding):
    """As some models have it."""

    def forward(self, ids: Any) -> Any:
        return super().forward(ids) * 3


def test_what_layers_do_not_show_is_known(tiny_model: Path) -> None:
    assert not exact_by_layers(model_of(tiny_model))  # the norms
    assert not exact_by_layers(with_adapter(tiny_model, use_dora=True))
    assert exact_by_layers(nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5)))
    assert not exact_by_layers(nn.Sequential(ScaledEmbedding(5, 3), nn.Linear(3, 5)))


class Experts(nn.Module):
    """Of two linear layers, the second is given some of the tokens, all of them, or is not called as a layer."""

    def __init__(self, given: str) -> None:
        super().__init__()
        self.first, self.second, self._given = nn.Linear(3, 4), nn.Linear(4, 4), given

    def forward(self, values: Any) -> Any:
        hidden = self.first(values)
        if self._given == "none":
            return functional.linear(hidden, self.second.weight, self.second.bias)
        return self.second(hidden) if self._given == "all" else self.second(hidden[:, :2]).sum(1, keepdim=True) + hidden


@pytest.mark.parametrize("given", ["some", "all", "none"])
def test_a_layer_that_was_given_other_tokens_is_known(given: str) -> None:
    model = Experts(given)
    layers = LayerInfluence(model, trained_of(model), Clock())
    for _ in range(2):
        with layers.watching():
            output = model(torch.ones(2, 3, 3))
            layers.expect(np.array([[0] * 3, [1] * 3]), 2)
            output.sum().backward()
        assert layers.complete == (given == "all")


# Held-out rows and differences.

TARGET = {"a": 0.75, "b": 0.25}


def context_of(
    model: Any, ranks: Ranks | None = None, *, precision: Any = nullcontext, gradient_rows: int = 8
) -> Context:
    rows, held_out = rows_of(24), rows_of(9, seed=4)
    lengths, held_lengths = (np.array([len(row["input_ids"]) for row in each], np.int32) for each in (rows, held_out))
    trainer = SimpleNamespace(
        model=model,
        train_dataset=Dataset.from_list(rows),
        args=SimpleNamespace(per_device_train_batch_size=3),
        compute_loss_context_manager=precision,
    )
    cells = Cells(("x",), np.array([[24]]), lengths, lengths - 2, ())
    steering = HeldOutRows(Dataset.from_list(held_out), held_lengths, {"a": range(6), "b": range(6, 9)})
    return Context(trainer, cells, ranks or Ranks(), gradient_rows=gradient_rows, steering=steering, target=TARGET)


def held_out_oracle(model: Any) -> list[Any]:
    """From all held-out rows one by one; each has an answer of all its tokens but two."""
    rows, total = rows_of(9, seed=4), 0.0
    for part, share in ((rows[:6], 0.75), (rows[6:], 0.25)):
        tokens = sum(len(row["input_ids"]) - 2 for row in part)
        total = total + share / tokens * sum(answer_losses(model, [row])[0] for row in part)
    return list(torch.autograd.grad(total, trained_of(model)))


def state(model: Any) -> list[Any]:
    """All that measuring must leave as it is."""
    modes = [each.training for each in model.modules()]
    return [*(part.detach().clone() for part in model.parameters()), torch.get_rng_state(), torch.tensor(modes)]


def assert_untouched(model: Any, before: list[Any], storage: list[int]) -> None:
    assert all(torch.equal(one, other) for one, other in zip(state(model), before, strict=True))
    assert [part.data_ptr() for part in model.parameters()] == storage
    assert all(part.grad is None for part in model.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("make", MODELS)
def test_the_held_out_gradient_is_that_of_the_target(
    make: Callable[[Path], Any], tiny_model: Path, *, checkpointing: bool
) -> None:
    model = make(tiny_model).eval()
    wanted = held_out_oracle(model)
    model.train()
    model.get_output_embeddings().eval()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    before, storage = state(model), [part.data_ptr() for part in model.parameters()]
    found = held_out_gradient(context_of(model), 0)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert_untouched(model, before, storage)


def test_ranks_share_the_held_out_rows(tiny_model: Path) -> None:
    alone = held_out_gradient(context_of(of_linear_layers(tiny_model)), 0)
    contexts = [context_of(of_linear_layers(tiny_model), OfTwo(rank, 2)) for rank in range(2)]
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda context: held_out_gradient(context, 0), contexts)
    for one, other, wanted in zip(first, second, alone, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-6)


def test_a_step_chooses_the_held_out_rows(tiny_model: Path) -> None:
    context = context_of(of_linear_layers(tiny_model), gradient_rows=2)
    first, again, other = (torch.cat([part.flatten() for part in held_out_gradient(context, at)]) for at in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, rtol=0.1)


@pytest.mark.parametrize(
    ("precision", "agreement"), [(nullcontext, 0.999), (partial(torch.autocast, "cpu", torch.bfloat16), 0.95)]
)
@pytest.mark.parametrize(
    "make", [of_linear_layers, partial(of_tied_embeddings, pad_token_id=None), with_adapter, model_of]
)
def test_a_difference_is_the_influence(
    make: Callable[[Path], Any], tiny_model: Path, monkeypatch: pytest.MonkeyPatch, precision: Any, agreement: float
) -> None:
    """Along a step that changes losses by as much as was asked for."""
    model = make(tiny_model).eval()
    v, rows = held_out_oracle(model), np.array([17, *range(14), 3])
    every = rows_of(24)
    wanted = products(model, answer_losses(model, [every[row] for row in rows]), v).numpy()
    passed: list[Any] = []

    def watched(*args: Any) -> Any:
        passed.append(pass_over(*args))
        return passed[-1]

    monkeypatch.setattr("hbo_plugin.signals.influence.pass_over", watched)
    model.train()
    before, storage = state(model), [part.data_ptr() for part in model.parameters()]
    found = influence_by_difference(context_of(model, precision=precision), v, rows)
    assert np.corrcoef(found, wanted)[0, 1] > agreement
    assert np.polyfit(wanted, found, 1)[0] == pytest.approx(1, abs=0.1)
    ahead, behind = passed[-2:]
    assert len(passed) <= 6
    assert 0.05 < np.abs(ahead.means - behind.means).mean() / 2 < 0.15
    assert_untouched(model, before, storage)


def test_a_difference_goes_on_without_what_is_no_number(tiny_model: Path) -> None:
    model = of_linear_layers(tiny_model)
    context, rows = context_of(model), np.arange(4)
    v = held_out_gradient(context, 0)
    nothing = [torch.zeros_like(part) for part in v]
    np.testing.assert_array_equal(influence_by_difference(context, nothing, rows), np.zeros(4))
    nothing[0].flatten()[3] = torch.inf
    assert np.isnan(influence_by_difference(context, nothing, rows)).all()
    before = influence_by_difference(context, v, rows)
    others = {token for row in (0, 1, 3) for token in rows_of(4)[row]["input_ids"]}
    alone = min({*rows_of(4)[2]["input_ids"]} - others)
    model.get_input_embeddings().register_forward_hook(
        lambda _layer, given, output: output.masked_fill((given[0] == alone)[..., None], torch.nan)
    )
    found = influence_by_difference(context, v, rows)
    assert np.isnan(found[2])
    np.testing.assert_allclose(found[[0, 1, 3]], before[[0, 1, 3]], rtol=0.05)
