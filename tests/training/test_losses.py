"""Losses of single datasets while they are trained on: in every run whose batches show them, right, and for nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resume import assert_resumes
from runs import STILL, history, lines, load, train

pytestmark = pytest.mark.axolotl

DATASETS = ("sums", "words", "tales")
STATIC = {"method": "static", "record_rows": True, "levels": 2, "update_every": 4, "forward_rows": 1}
"""Looks at every second step: 4 steps of 4 rows are twice as many as there are cells, and a row of each is wanted."""
PACKED = {"sample_packing": True, "pad_to_sequence_len": True, "sequence_len": 256}


def logged(folder: Path) -> dict[str, dict[int, float]]:
    """The loss of each dataset, by step."""
    return {name: history(folder, f"hbo/loss/{name}") for name in DATASETS}


def expected(config: dict[str, Any], folder: Path, since: int, step: int) -> dict[str, float]:
    """The mean loss per token of the answers of a model that stays as it is, row by row of the steps looked at."""
    import torch
    from torch.nn import functional
    from transformers import AutoModelForCausalLM

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data.load import load as load_data

    cfg = load(config, folder.parent)
    data = load_data(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    model = AutoModelForCausalLM.from_pretrained(config["base_model"])
    sums = {name: [0.0, 0] for name in DATASETS}
    looked_at = [record for record in lines(folder / "hbo_rows.jsonl") if since < record["step"] <= step]
    for number in (row for record in looked_at if record["step"] % 2 == 0 for row in record["rows"]):
        row = data.train[number]
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        of_dataset = sums[data.cells.names[data.cells.of(np.array([number]))[0] // data.cells.levels]]
        of_dataset[0] += float(functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        of_dataset[1] += int((labels != -100).sum())
    return {name: total / tokens for name, (total, tokens) in sums.items() if tokens}


@pytest.mark.parametrize("packing", [{}, PACKED], ids=["rows", "packed"])
def test_a_static_run_logs_the_loss_of_each_dataset(make_config: Any, packing: dict[str, Any]) -> None:
    hbo = {**STATIC, "update_every": 2} if packing else STATIC  # a packed step has so many rows that one in 2 is enough
    config = make_config(hbo=hbo, logging_steps=5, learning_rate=STILL, max_steps=10, save_steps=10, **packing)
    folder = train(config)
    found = logged(folder)
    for since, step in ((0, 5), (5, 10)):
        losses = {name: of_step[step] for name, of_step in found.items() if step in of_step}
        assert losses == pytest.approx(expected(config, folder, since, step), rel=1e-5)
        assert losses


def test_looking_at_losses_changes_no_training(make_config: Any, tmp_path: Path) -> None:
    """`signals: probe` looks at no training batch."""
    lora = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.3, "lora_target_linear": True}
    runs = [
        train(make_config(hbo={**STATIC, "signals": signals}, output_dir=str(tmp_path / signals), **lora))
        for signals in ("auto", "probe")
    ]
    assert set().union(*logged(runs[0]).values()) == {2, 4, 6, 8, 10, 12}
    assert not any(logged(runs[1]).values())
    for key in ("loss", "grad_norm", "hbo/weight/sums"):
        assert history(runs[0], key) == history(runs[1], key)
    assert lines(runs[0] / "hbo_rows.jsonl") == lines(runs[1] / "hbo_rows.jsonl")


def test_a_killed_run_logs_losses_as_if_nothing_had_happened(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The checkpoint of step 4 is between two lines of the log, and holds what was seen since the first."""
    # The Trainer's own mean forgets what it saw before the checkpoint.
    died = assert_resumes(make_config(hbo=STATIC, logging_steps=3), monkeypatch, crash_at=5, losses=False)
    assert set().union(*logged(died).values()) == {3, 6, 9, 12}
    assert logged(died) == logged(tmp_path / "whole")
    # Where batches show no losses any more, or show them again, a static run goes on all the same.
    for signals in ("probe", "auto"):
        hbo = {**STATIC, "signals": signals}
        train(make_config(hbo=hbo, output_dir=str(died), resume_from_checkpoint=str(died / "checkpoint-8")))
