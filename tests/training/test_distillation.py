"""Distillation: rows keep the columns of the teacher that Axolotl's KD plugin learns from."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import TASKS, read_trace

pytestmark = pytest.mark.axolotl


@pytest.mark.parametrize("packed", [False, True])
def test_a_teacher_is_learnt_from(make_config: Any, tmp_path: Path, *, packed: bool) -> None:
    rows = [{**row, "logprobs": [[-0.1, -2.4]] * 3, "target_token_ids": [[5, 9]] * 3} for row in TASKS["words"](40)]
    (tmp_path / "taught.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    taught = {"path": str(tmp_path / "taught.jsonl"), "ds_type": "json", "field_messages": "messages"}
    taught |= {"type": "axolotl.integrations.kd.chat_template", "logprobs_field": "logprobs"}
    packing = {"sample_packing": True, "eval_sample_packing": False, "pad_to_sequence_len": True, "sequence_len": 256}
    config = make_config(
        datasets=[taught],
        chat_template="tokenizer_default",
        plugins=["hbo_plugin.HBOPlugin", "axolotl.integrations.kd.KDPlugin"],
        hbo={"method": "static", "levels": 2},
        kd_trainer=True,
        kd_ce_alpha=0.1,
        kd_alpha=0.9,
        kd_temperature=1.0,
        max_steps=3,
        val_set_size=4,
        eval_steps=3,
        **(packing if packed else {}),
    )
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    # A process of its own, since Axolotl builds the class of its arguments once.
    command = [sys.executable, "-m", "axolotl.cli.train", str(path)]
    done = subprocess.run(
        command, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    trace = read_trace(Path(config["output_dir"]))
    assert [(record["event"], record["step"]) for record in trace][-2:] == [("evaluate", 3), ("end", 3)]
    assert trace[-2]["held_out"]["taught"] > 0
