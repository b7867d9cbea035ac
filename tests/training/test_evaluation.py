"""Held-out losses: one evaluation has them all, for callbacks, loggers and the best model; and they are right."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import history, lines, load, train

from hbo_plugin.trace import COSTS_FILE, TRACE_FILE

pytestmark = pytest.mark.axolotl


def expected(folder: Path, config: dict[str, Any]) -> dict[str, float]:
    """The mean loss per token of each held-out set under the trained model, row by row."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data.load import load as load_data

    cfg = load(config, folder.parent)
    data = load_data(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    model = AutoModelForCausalLM.from_pretrained(folder)
    losses = {}
    for name, rows in data.judging.sets.items():
        total, tokens = 0.0, 0
        for index in rows:
            row = data.judging.rows[index]
            with torch.no_grad():
                logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
            labels = torch.tensor(row["labels"][1:])
            total += float(functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
            tokens += int((labels != -100).sum())
        losses[name] = total / tokens
    return losses


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="rows"),
        pytest.param({"eval_batch_size": 5}, id="a-last-batch-that-is-not-full"),
        pytest.param({"sample_packing": True, "eval_sample_packing": True, "sequence_len": 64}, id="packed"),
    ],
)
def test_losses_of_held_out_sets_are_right(make_config: Any, changes: dict[str, Any]) -> None:
    config = make_config(val_set_size=0.2, eval_steps=6, **changes)
    folder = train(config)
    found = {name: history(folder, f"eval_{name}_loss")[12] for name in ("sums", "words", "tales")}
    right = expected(folder, config)
    if changes.get("sample_packing"):  # Axolotl leaves out what fills no batch
        assert found == pytest.approx(right, rel=0.05)
    else:
        assert found == pytest.approx(right, rel=1e-4)
    assert history(folder, "eval_target_loss")[12] == pytest.approx(np.mean([*found.values()]))
    traced = [record for record in lines(folder / "hbo_trace.jsonl") if record.get("event") == "evaluate"]
    assert traced[-1]["held_out"] == pytest.approx(found)
    assert traced[-1]["tied"] == {name: name for name in found}


def test_early_stopping_sees_the_loss_of_one_dataset(make_config: Any) -> None:
    """At a learning rate of zero no loss falls, so patience is used up at the third evaluation."""
    config = make_config(
        hbo={"levels": 2, "names": ["sums", "chat/words", "tales"]},
        val_set_size=0.2,
        eval_steps=2,
        save_steps=2,
        max_steps=12,
        learning_rate=1e-30,
        load_best_model_at_end=True,
        metric_for_best_model="eval_chat-words_loss",
        greater_is_better=False,
        early_stopping_patience=2,
    )
    folder = train(config)
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    assert json.loads((newest / "trainer_state.json").read_text())["global_step"] < 12


def test_the_evaluate_command_scores_the_rows_that_were_held_out(make_config: Any, tmp_path: Path) -> None:
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.evaluate import do_evaluate

    config = make_config(val_set_size=0.2, eval_steps=6)
    folder = train(config)
    written = {name: (folder / name).read_bytes() for name in (TRACE_FILE, COSTS_FILE)}
    do_evaluate(load({**config, "base_model": str(folder)}, tmp_path), TrainerCliArgs())
    assert {name: (folder / name).read_bytes() for name in written} == written
    with (folder / "eval_summary.csv").open() as file:
        scored = {row["metric"]: row for row in csv.DictReader(file)}
    for name, loss in expected(folder, config).items():
        assert float(scored[f"{name}_loss"]["validation"]) == pytest.approx(loss, rel=1e-4)
    assert scored["target_loss"]["training"] == ""
