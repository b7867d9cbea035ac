"""The head: logits of some positions are those that the model gives them, whatever it does to its logits."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM  # noqa: E402

from hbo_plugin.signals.head import Head  # noqa: E402

VOCABULARY = 50
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "gemma2": {"final_logit_softcapping": 0.1, "sliding_window": 8},
    "cohere": {"logit_scale": 3.0},
    "granite": {"logits_scaling": 5.0},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 8, "output_router_logits": True},
    "mamba": {"state_size": 4},
}


def model(kind: str) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SHAPE, **MODELS[kind]})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def adapted(**options: Any) -> Any:
    return get_peft_model(model("llama"), LoraConfig(r=2, init_lora_weights=False, **options))


MADE: dict[str, Callable[[], Any]] = {
    **{kind: partial(model, kind) for kind in MODELS},
    "an adapter of the head": lambda: adapted(target_modules=["q_proj", "lm_head"]),
    "a head that is trained beside an adapter": lambda: adapted(target_modules=["q_proj"], modules_to_save=["lm_head"]),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_logits_are_those_of_the_model(make: Callable[[], Any]) -> None:
    whole = make().eval()
    ids = torch.randint(3, VOCABULARY, (3, 6))
    head, found = Head(whole), []
    at = torch.tensor([1, 16, 7])

    def look(states: Any) -> None:
        logits = head.of(states)
        assert logits.vocabulary == VOCABULARY
        found.extend([logits.at(at), logits.at(at[:1])])

    with torch.no_grad(), head.watching(look):
        logits = whole(ids, use_cache=False).logits
        few = whole(ids, use_cache=False, **head.options).logits
    picked, one, *again = found
    torch.testing.assert_close(picked, logits.flatten(0, 1)[at], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one, picked[:1])
    assert few.shape[1] == (1 if head.options else 6)
    assert len(again) == 2
    assert "forward" not in vars(head._decoder)
    torch.testing.assert_close(whole(ids, use_cache=False).logits, logits)


@pytest.mark.bf16
def test_mixed_precision_ends_with_the_pass() -> None:
    whole = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model("llama"))
    ids = torch.randint(3, VOCABULARY, (3, 6))
    head, found = Head(whole), []
    with torch.no_grad(), head.watching(lambda states: found.append(head.of(states).at(torch.arange(18)))):
        logits = whole(ids, use_cache=False).logits
    torch.testing.assert_close(found[0].float(), logits.flatten(0, 1))
    assert found[0].dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")


def test_a_model_without_a_decoder_is_refused() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        Head(torch.nn.Linear(2, 2))
    assert str(error.value) == (
        "`Linear` does not say which of its parts is the decoder, after which hbo measures; train a causal language model "
        "of transformers, or choose `method: static`, which measures nothing."
    )
