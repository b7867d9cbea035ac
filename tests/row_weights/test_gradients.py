"""Row weights in real runs: the gradient of one step is that of an explicitly weighted loss."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from runs import lines, load, short_run, train

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from hbo_plugin.args import HBOConfig  # noqa: E402
from hbo_plugin.data import load as data  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

RATE = 100.0  # so that what rounding the new parameters takes off the gradient is small
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
CHECKPOINTED = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
# One micro-batch a step: the trace does not say which rows were packed into which.
PACKED = {"sample_packing": True, "eval_sample_packing": False, "gradient_accumulation_steps": 1}
CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "packed": PACKED,
    "packed in one line": {**PACKED, "multipack_real_batches": False},
    "lora": {**LORA, "lora_target_modules": ["q_proj", "v_proj"]},
    "lora and head": {**LORA, "lora_target_modules": ["q_proj", "v_proj"], "lora_modules_to_save": ["lm_head"]},
    "checkpointed": CHECKPOINTED,
    "reentrant": {**CHECKPOINTED, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "tied": {},
}


def one_step(model: Path, corpus: Path, output: Path, weights: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A run of one step of plain gradient descent."""
    return short_run(
        model,
        corpus,
        output,
        {"sums": 80, "words": 40},
        hbo={"method": "static", "levels": 1, "record_rows": True, "row_weights": weights},
        max_steps=1,
        optimizer="sgd",
        learning_rate=RATE,
        max_grad_norm=0.0,
        **changes,
    )


def tied(model: Path, folder: Path) -> Path:
    """A model of that shape, with the weights of its embedding at its head too."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(model)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config)
    assert made.lm_head.weight is made.model.embed_tokens.weight
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return folder


def trained_by(start: Path, end: Path) -> tuple[Any, dict[str, tuple[Any, Any]]]:
    """The model before the step, and of each trained parameter what it was and became."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    if not (end / "adapter_config.json").exists():
        after = AutoModelForCausalLM.from_pretrained(end, dtype=torch.float32)
        pairs = zip(model.named_parameters(), after.parameters(), strict=True)
        return model, {name: (before, became.detach()) for (name, before), became in pairs}
    adapted = PeftModel.from_pretrained(model, str(end), is_trainable=True)
    before = dict(AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32).named_parameters())
    moved = {}
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            became = parameter.detach().clone()
            if "lora_B" in name:  # an adapter begins there
                parameter.data.zero_()
            elif "modules_to_save" in name:
                parameter.data.copy_(before["lm_head.weight"])
            moved[name] = (parameter, became)
    return adapted, moved


def weighted_gradients(
    model: Any, rows: Any, micro_batches: list[list[int]], weights: np.ndarray[Any, Any], parameters: list[Any]
) -> list[list[Any]]:
    """Of the mean loss a token of a step, and of the mean over micro-batches of the same: a version of Axolotl has one or the other."""
    sums = []
    for batch in micro_batches:
        losses, tokens = [], 0
        for row in batch:
            ids, labels = (torch.tensor(rows[row][key]) for key in ("input_ids", "labels"))
            logits = model(ids[None]).logits[0, :-1]
            losses.append(functional.cross_entropy(logits, labels[1:], reduction="sum") * float(weights[row]))
            tokens += int((labels[1:] != -100).sum())
        sums.append((torch.stack(losses).sum(), tokens))
    whole = sum(loss for loss, _ in sums) / sum(tokens for _, tokens in sums)
    means = sum(loss / tokens for loss, tokens in sums) / len(sums)
    return [[*torch.autograd.grad(loss, parameters, retain_graph=True)] for loss in (whole, means)]


def apart(found: list[Any], wanted: list[Any]) -> float:
    """The relative difference of two gradients."""
    pairs = [*zip(found, wanted, strict=True)]
    difference = sum(float((one.double() - other.double()).square().sum()) for one, other in pairs)
    return float(np.sqrt(difference / sum(float(other.double().square().sum()) for _, other in pairs)))


@pytest.mark.axolotl
@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_a_weighted_loss(tiny_model: Path, corpus: Path, tmp_path: Path, case: str) -> None:
    start = tied(tiny_model, tmp_path / "tied") if case == "tied" else tiny_model
    config = one_step(start, corpus, tmp_path / "out", {"column": "hardness", "normalise": False}, **CASES[case])
    end = train(config)
    loaded = data.load(load(config, tmp_path), HBOConfig.model_validate(config["hbo"]))
    weights = loaded.row_values
    assert weights is not None
    (record,) = lines(end / "hbo_rows.jsonl")
    drawn = record["rows"]
    assert len({float(weight) for weight in weights[drawn]}) > 2
    if "sample_packing" in CASES[case]:
        micro_batches = [drawn]
    else:
        micro_batches = [drawn[start : start + 2] for start in range(0, len(drawn), 2)]
    model, moved = trained_by(start, end)
    found = [(before.detach() - became) / RATE for before, became in moved.values()]
    wanted = weighted_gradients(model, loaded.train, micro_batches, weights, [before for before, _ in moved.values()])
    plain = weighted_gradients(
        model, loaded.train, micro_batches, np.ones_like(weights), [before for before, _ in moved.values()]
    )
    assert min(apart(found, each) for each in wanted) < 2e-6
    assert min(apart(found, each) for each in plain) > 0.1
    log = json.loads((end / "checkpoint-1" / "trainer_state.json").read_text())["log_history"]
    assert log[0]["loss"] < 10  # the loss that is logged is not weighted
