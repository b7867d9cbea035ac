"""An Axolotl plugin for tests: a policy that differs from its reference, and what it was trained on, to compute margins again."""

from __future__ import annotations

import copy
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from torch.nn import functional

BATCHES: list[dict[str, torch.Tensor]] = []
"""What the collator of the last run made, in the order of the rows; of batches ahead of the end too."""
MODELS: dict[str, Any] = {}
"""The `policy` as the last run began, and its `reference`."""


class MarginsPlugin(BasePlugin):
    """`plugins: [..., margins.MarginsPlugin]`; under a rate at which the model stays as it is, margins can be computed again."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The one hook with a finished trainer that Axolotl 0.19 calls in every kind of training; it adds none."""
        BATCHES.clear()
        MODELS["reference"] = copy.deepcopy(trainer.model)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
        MODELS["policy"] = copy.deepcopy(trainer.model)
        collate = trainer.data_collator

        def kept(rows: list[Any]) -> Any:
            batch = collate(rows)
            BATCHES.append(dict(batch))
            return batch

        trainer.data_collator = kept
        return []


def margins(kind: str, beta: float) -> list[float]:
    """The margins of the rows of the last run, one by one and in double precision."""
    found = []
    for batch in BATCHES:
        pairs = [_pair(batch, index) for index in range(_rows(batch))]
        found += [_margin(kind, beta, *pair) for pair in pairs]
    return found


def text_margin(model: Any, tokenizer: Any, prompt: str, chosen: str, rejected: str) -> float:
    """The mean log-probability of a token of the chosen answer less that of the rejected one, NaN without an answer."""
    means = []
    for answer in (chosen, rejected):
        before, after = (tokenizer.encode(text, add_special_tokens=False) for text in (prompt, answer))
        answered = torch.tensor([False] * len(before) + [True] * len(after))
        with torch.no_grad():
            ids = torch.tensor(before + after)
            means.append(_logps(model, ids, answered).mean() if after else float("nan"))
    return float(means[0] - means[1])


def _rows(batch: dict[str, torch.Tensor]) -> int:
    """Rows of a batch: TRL's stable trainers put both answers into one tensor, its experimental ones into two."""
    return len(batch["input_ids"]) // 2 if "input_ids" in batch else len(batch["chosen_input_ids"])


def _pair(batch: dict[str, torch.Tensor], index: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The tokens of each answer of a row with its prompt, and which of them are the answer's."""
    if "input_ids" not in batch:
        pair = []
        for answer in ("chosen", "rejected"):
            mask = batch[f"{answer}_attention_mask"][index].bool()
            labels = batch[f"{answer}_labels"][index][mask]
            pair.append((batch[f"{answer}_input_ids"][index][mask], labels != -100))
        return pair
    answered = batch.get("completion_mask", batch["attention_mask"])
    lines = (index, index + _rows(batch))
    masks = [batch["attention_mask"][line].bool() for line in lines]
    return [
        (batch["input_ids"][line][mask], answered[line][mask].bool()) for line, mask in zip(lines, masks, strict=True)
    ]


def _margin(kind: str, beta: float, *pair: tuple[torch.Tensor, torch.Tensor]) -> float:
    policy, reference = MODELS["policy"].double().eval(), MODELS["reference"].double().eval()
    with torch.no_grad():
        if kind == "reward_model":
            chosen, rejected = (policy(ids[None]).logits.item() for ids, _ in pair)
            return float(chosen - rejected)
        if kind in ("dpo", "ipo"):
            chosen, rejected = (_logps(policy, *each).sum() - _logps(reference, *each).sum() for each in pair)
            return float(beta * (chosen - rejected))
        chosen, rejected = (_logps(policy, *each).mean() for each in pair)
        if kind == "simpo":
            return float(beta * (chosen - rejected))
        return float(torch.logit(chosen.exp()) - torch.logit(rejected.exp()))


def _logps(model: Any, ids: torch.Tensor, answered: torch.Tensor) -> torch.Tensor:
    """The log-probability of each token of an answer."""
    logits = model(ids[None]).logits[0, :-1]
    return -functional.cross_entropy(logits, ids[1:], reduction="none")[answered[1:]]
