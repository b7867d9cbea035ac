"""Passes of hbo's own: nothing of the training acts in them but gradient checkpointing, and nothing is left behind."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hbo_plugin.devices import own_devices  # noqa: E402
from hbo_plugin.signals.passes import undisturbed  # noqa: E402

TOKENS = torch.arange(12).view(2, 6)
SIZES = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(**changes: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, intermediate_size=32, **changes))


def opt(**changes: Any) -> Any:
    """Its layers drop numbers by functions, and by rates that they keep."""
    config = transformers.OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, **changes)
    return transformers.OPTForCausalLM(config)


def gpt2(**changes: Any) -> Any:
    """Its attention has a module for dropout, and asks only for the rate of it."""
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, **changes)
    )


def with_neftune() -> Any:
    model = llama()
    transformers.integrations.neftune.activate_neftune(model, 10.0)
    return model


CASES = {
    "attention of Llama": lambda: llama(attention_dropout=0.5),
    "layers of OPT": lambda: opt(dropout=0.5, attention_dropout=0.5),
    "attention of GPT-2": lambda: gpt2(attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5),
    "NEFTune": with_neftune,
}


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_the_training_disturbs_is_off(case: str, *, gradient: bool) -> None:
    model = CASES[case]()
    expected = model.eval()(TOKENS).logits
    checkpointed = []

    def counted(*args: Any) -> Any:
        checkpointed.append(1)
        return torch.utils.checkpoint.checkpoint(*args, use_reentrant=False)

    model.train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for module in model.modules():
        if hasattr(module, "_gradient_checkpointing_func"):
            module._gradient_checkpointing_func = counted
    assert not torch.allclose(model(TOKENS, use_cache=False).logits, expected), "there is nothing to turn off"
    checkpointed.clear()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    with undisturbed(SimpleNamespace(model=model, precision=nullcontext), gradient=gradient):  # type: ignore[arg-type]
        found = model(TOKENS, use_cache=False).logits
        assert found.requires_grad == gradient
        assert len(checkpointed) == (2 if gradient else 0)
    torch.testing.assert_close(found, expected)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(model(TOKENS, use_cache=False).logits, expected), "it stayed off"


def test_only_devices_of_the_run_are_asked_for_their_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node of eight, of which this process computes on the sixth and keeps part of the model on the seventh."""
    asked: list[int] = []
    for name, value in {"is_available": True, "is_initialized": True, "current_device": 5, "device_count": 8}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda _state, _device: None)
    parts = [SimpleNamespace(is_cuda=True, device=torch.device("cuda", 6)), SimpleNamespace(is_cuda=False)]
    assert own_devices(SimpleNamespace(parameters=lambda: parts)) == [5, 6]
    with torch.random.fork_rng(own_devices(torch.nn.Linear(1, 1)), device_type="cuda"):
        pass
    assert asked == [5]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert own_devices(torch.nn.Linear(1, 1)) == []
