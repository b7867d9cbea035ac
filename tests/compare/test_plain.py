"""The arm without hbo: a real run of Axolotl's own, killed before it was measured, and its losses by another calculation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from axolotl.cli.args import TrainerCliArgs
from axolotl.cli.config import load_cfg
from axolotl.cli.train import do_train
from axolotl.integrations.base import PluginManager
from click.testing import CliRunner
from peft import PeftModel
from runs import ENTRIES, TASKS, Config
from traces import evaluation, state, write
from transformers import AutoModelForCausalLM, set_seed

from hbo_plugin.cli import main
from hbo_plugin.compare.arms import find_arms, told
from hbo_plugin.compare.outcome import compared
from hbo_plugin.compare.plain import PlainRun, with_plain
from hbo_plugin.compare.runs import CONFIG_FILE, PlannedRun, planned
from hbo_plugin.setup import Setup, read_config
from hbo_plugin.trace import TRACE_FILE

MakeConfig = Callable[..., Config]
BLOCK = {"target": ["words"], "levels": 2, "update_every": 3}


def held_out(folder: Path) -> list[Config]:
    """Entries of `test_datasets`, of rows that the training has not."""
    entries = []
    for name in ("sums", "words"):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in TASKS[name](110)[100:]))
        entries.append({"path": str(path), "ds_type": "json", "split": "train", **ENTRIES[name]})
    return entries


def plain_runs(base: Config, out: Path, steps: int = 12) -> list[PlannedRun]:
    arms = find_arms(BLOCK, ["axolotl"], {}, "static", controls=False)
    return with_plain(planned(arms, [7], out), base, lambda: steps)


class KilledError(Exception):
    """The process is gone."""


class Starts:
    """`axolotl train` in this process."""

    def __init__(self, *, killed_at: int | None = None) -> None:
        self.folders: list[str] = []
        self.killed_at = killed_at

    def __call__(self, config: Path, *options: str) -> bool:
        if len(self.folders) == self.killed_at:
            raise KilledError
        self.folders.append(config.parent.name)
        keys = {options[0][2:].replace("-", "_"): options[1]} if options else {}
        PluginManager._instance = None  # as in a process of its own
        set_seed(0)
        do_train(load_cfg(str(config), **keys), TrainerCliArgs())
        return True


def losses(config: Path, trained: Path, *, adapter: bool) -> dict[str, float]:
    """The mean loss a token of each held-out set, row by row, of the model that a folder holds."""
    data = Setup(read_config(config)).data.judging
    keys = yaml.safe_load(config.read_text())
    model: Any = AutoModelForCausalLM.from_pretrained(keys["base_model"] if adapter else trained, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, trained)
    model.eval()
    found = {}
    for name, rows in data.sets.items():
        spent = []
        for row in rows:
            ids, labels = (torch.tensor([data.rows[row][key]]) for key in ("input_ids", "labels"))
            with torch.no_grad():
                logits = model(ids).logits[0, :-1]
            spent += torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="none", ignore_index=-100)[
                labels[0, 1:] != -100
            ].tolist()
        found[name] = float(np.mean(spent))
    return found


@pytest.mark.parametrize("adapter", [None, "lora"])
def test_a_run_without_hbo_is_measured_on_the_rows_of_the_others(
    make_config: MakeConfig, tmp_path: Path, adapter: str | None
) -> None:
    lora = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True} if adapter else {}
    base = make_config(
        val_set_size=None, test_datasets=held_out(tmp_path), max_steps=None, num_epochs=1, eval_steps=20, **lora
    )
    del base["hbo"]
    static, plain = plain_runs(base, tmp_path / "compare")
    config = plain.write_config(base)
    with pytest.raises(KilledError):
        plain.train(Starts(killed_at=1), config)
    assert not plain.finished
    assert not (plain.folder / TRACE_FILE).exists()
    last = json.loads((plain.folder / "checkpoint-12" / "trainer_state.json").read_text())
    assert last["global_step"] == 12
    assert not any(key.startswith("hbo/") for line in last["log_history"] for key in line)

    again = Starts()
    assert plain.train(again, plain.write_config(base))
    assert (again.folders, plain.finished) == (["measured"], True)
    assert not [*plain.traced.glob("*.safetensors")]
    # A baseline whose losses are all 0 leaves those of the other as differences.
    even = {"sums": [0.5], "words": [0.5]}
    zero = {"sums": 0.0, "words": 0.0}
    write(static.folder, state(0, "start", even), evaluation(12, None, **zero), state(12, "end", even))
    found = compared([static, plain], "static")
    expected = losses(config, plain.folder, adapter=bool(adapter))
    arm = found.arms[1]
    assert {name: each.mean for name, each in arm.sets.items()} == pytest.approx(expected, rel=1e-4)
    assert arm.target == pytest.approx(expected["words"], rel=1e-4)
    assert (found.unequal_steps, arm.at_equal_tokens, arm.seconds) == (False, None, None)


def test_what_a_kill_left_is_no_place_to_go_on_from(tmp_path: Path) -> None:
    """The Trainer would take an incomplete checkpoint, and from the last step make one more."""
    base: Config = {"test_datasets": [{}], "base_model": "a/model", "plugins": ["hbo_plugin.HBOPlugin", "mine.Plugin"]}
    _, run = plain_runs(base, tmp_path, steps=20)
    config = run.write_config(base)
    for step in (5, 10, 15, 20):
        (run.folder / f"checkpoint-{step}").mkdir()
    for step in (5, 10, 20):
        (run.folder / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    seen: list[list[str]] = []

    def start(_: Path) -> bool:
        seen.append(sorted(path.name for path in run.folder.glob("checkpoint-*")))
        return False

    assert not run.train(start, config)
    assert seen == [["checkpoint-10", "checkpoint-5"]]


def test_what_trains_has_no_hbo_and_what_measures_makes_the_data_alike(tmp_path: Path) -> None:
    base: Config = {"test_datasets": [{}], "base_model": "a/model", "plugins": ["hbo_plugin.HBOPlugin", "mine.Plugin"]}
    base |= {"save_steps": 5, "eval_strategy": "steps", "early_stopping_patience": 3, "seed": 1, "learning_rate": 1}
    static, run = plain_runs(base, tmp_path)
    assert isinstance(run, PlainRun)
    config = run.write_config(base)
    plain = yaml.safe_load((run.folder / CONFIG_FILE).read_text())
    more = {"max_steps": 12, "seed": 7, "output_dir": str(run.folder), "auto_resume_from_checkpoints": True}
    assert plain == {**base, "plugins": ["mine.Plugin"], **more}
    measuring = yaml.safe_load(config.read_text())
    assert measuring["hbo"] == {"target": ["words"], "levels": 2, "update_every": 3, "method": "static"}
    assert (measuring["tokenizer_config"], measuring["max_steps"]) == ("a/model", 1)
    assert not measuring.keys() & {"save_steps", "eval_strategy", "early_stopping_patience"}
    assert told(run.arm) == "axolotl: without hbo"
    assert type(static) is PlannedRun


def test_without_rows_of_their_own_it_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump(make_config(val_set_size=0.1)))
    found: Any = CliRunner().invoke(main, ["compare", str(config), "--methods", "axolotl"])
    assert found.exit_code == 1
    assert "`--methods axolotl` was given, but without hbo other rows are held out by `val_set_size`" in found.output
