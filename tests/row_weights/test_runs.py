"""Row weights in real runs: resume, ranks, branches, and what a finished network leaves to the next run."""

from __future__ import annotations

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import crash
import numpy as np
import pytest
from axolotl.integrations.base import BasePlugin
from launch import SHARDING, start
from packaging.version import Version
from resume import assert_resumes
from runs import STILL, history, lines, load, read_trace, short_run, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data
from hbo_plugin.methods.state import from_json
from hbo_plugin.row_weights.dwm import Dwm
from hbo_plugin.row_weights.network import NETWORK_FILE
from hbo_plugin.training import state_file

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from hbo_plugin.row_weights.base import SeenRows

pytestmark = pytest.mark.axolotl

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "lora_target_linear": True}
HELD_OUT = {"val_set_size": {"sums": 16}, "target": ["sums"]}
LEARNS = {
    "row_weights": {"dwm": {"refresh_every": 2, "start": 2}},
    "weights": {"sums": 1, "words": 1},
    **HELD_OUT,
}
SIZES = {"sums": 80, "words": 40}


def configured(
    model: Path, folder: Path, output: Path, block: dict[str, Any], sizes: dict[str, int] = SIZES, **changes: Any
) -> dict[str, Any]:
    """A run of datasets of these sizes, whose rows have a number in the column `kept`, 0 or 1."""
    hbo = {"method": "static", "levels": 2, "update_every": 3, "record_rows": True, "gradient_rows": 4, **block}
    config = short_run(model, folder / "corpus", output, sizes, **{"hbo": hbo, "max_steps": 4, **changes})
    for entry in config["datasets"]:
        path = Path(entry["path"])
        rows = [{**row, "kept": int(number % 3 == 0)} for number, row in enumerate(lines(path))]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return config


def told(folder: Path) -> list[dict[str, Any]]:
    """What the trace says of row weights."""
    return [record for record in read_trace(folder) if record["event"] == "row_weights"]


@pytest.mark.parametrize("changes", [LORA, {}], ids=["by layers, dropout", "by differences"])
def test_a_run_that_died_in_a_refresh_goes_on_as_if_nothing_had_happened(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """From a checkpoint right after a refresh, and between two records of the weights."""
    refresh, influences = Dwm.refresh, []

    def dies(dwm: Dwm, rows: SeenRows, influence: np.ndarray[Any, Any]) -> None:
        influences.append(influence)
        # The whole run has 4 refreshes, the other dies in its third.
        if crash.VARIABLE in os.environ and len(influences) == 4 + 3:
            raise crash.CrashError
        refresh(dwm, rows, influence)

    monkeypatch.setattr(Dwm, "refresh", dies)
    config = configured(tiny_model, tmp_path, tmp_path / "run", LEARNS, max_steps=8, **changes)
    resumed = assert_resumes(config, monkeypatch, crash_at=8)
    assert len(influences) == 4 + 3 + 2
    assert all(np.isfinite(influence).all() and influence.any() for influence in influences)
    records = told(resumed)
    assert [record["step"] for record in records] == [3, 6, 8]
    assert records[-1]["std"] > 0.01


def test_ones_and_zeros_train_as_the_rows_of_1_alone(tiny_model: Path, tmp_path: Path) -> None:
    """The parameters after 4 steps are those of a loop over the kept rows of each step."""
    from transformers import AutoModelForCausalLM

    # One micro-batch a step, for versions of Axolotl take the mean over a step, or the mean of those of micro-batches.
    plain: dict[str, Any] = {"optimizer": "sgd", "lr_scheduler": "constant", "learning_rate": 0.5, "max_grad_norm": 0.0}
    shape: dict[str, Any] = {"micro_batch_size": 8, "gradient_accumulation_steps": 1}
    config = configured(tiny_model, tmp_path, tmp_path / "out", {"row_weights": {"column": "kept"}}, **plain, **shape)
    end = train(config)
    loaded = data.load(load(config, tmp_path), HBOConfig.model_validate(config["hbo"]))
    values = loaded.row_values
    assert values is not None
    after, everything, kept = (AutoModelForCausalLM.from_pretrained(path) for path in (end, tiny_model, tiny_model))
    for model, all_count in ((everything, True), (kept, False)):
        descent = torch.optim.SGD(model.parameters(), lr=0.5)
        for record in lines(end / "hbo_rows.jsonl"):
            rows = [row for row in record["rows"] if all_count or values[row]]
            assert all_count or 0 < len(rows) < len(record["rows"])
            losses = []
            for row in rows:
                ids, labels = (torch.tensor(loaded.train[row][key]) for key in ("input_ids", "labels"))
                logits = model(ids[None]).logits[0, :-1]
                losses.append(
                    torch.nn.functional.cross_entropy(logits, labels[1:], reduction="none")[labels[1:] != -100]
                )
            torch.cat(losses).mean().backward()
            descent.step()
            descent.zero_grad()

    def apart(model: Any) -> float:
        pairs = zip(model.parameters(), after.parameters(), strict=True)
        return max(float((one - other).detach().abs().max()) for one, other in pairs)

    assert apart(kept) < 1e-5
    assert apart(everything) > 1e-3


# Before 0.21, Axolotl draws a new adapter from whatever state the generators of each process are in.
ADAPTERS_DIFFER = pytest.mark.skipif(
    Version(version("axolotl")) < Version("0.21"), reason="ranks start from another adapter"
)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({**LORA, "lora_dropout": 0.0}, id="by layers", marks=ADAPTERS_DIFFER),
        pytest.param({}, id="by differences"),
    ],
)
def test_two_ranks_learn_as_one_process_does(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = configured(
        tiny_model,
        tmp_path,
        tmp_path / "alone",
        LEARNS,
        micro_batch_size=1,
        learning_rate=STILL,
        max_steps=6,
        save_strategy="no",
        save_steps=None,
        **changes,
    )
    config["plugins"].append("cpu_ranks.CPURanksPlugin")
    alone = train({**config, "gradient_accumulation_steps": 4})
    together = tmp_path / "together"
    done = start({**config, "output_dir": str(together)}, 2)
    assert done.returncode == 0, done.stderr
    assert lines(together / "hbo_rows.jsonl") == lines(alone / "hbo_rows.jsonl")
    records = told(alone)
    assert records[-1]["std"] > 0.01
    for found, wanted in zip(told(together), records, strict=True):
        for key in ("step", "mean", "std", "effective", "with_loss", "datasets"):
            assert found[key] == pytest.approx(wanted[key], rel=1e-3), key
        # Rows whose weights are alike may change places.
        assert [weight for *_, weight in found["lowest"]] == pytest.approx(
            [weight for *_, weight in wanted["lowest"]], rel=1e-3
        )
    networks = [json.loads((folder / NETWORK_FILE).read_text())["parameters"] for folder in (together, alone)]
    assert networks[0] == pytest.approx(networks[1], abs=1e-3)


def test_ranks_of_a_sharded_model_weigh_rows_as_one_process_does(tiny_model: Path, tmp_path: Path) -> None:
    """FSDP2, in which no rank has a whole gradient.

    Each rank averages over the tokens of its own rows, so all rows are about as long.
    """
    config = configured(
        tiny_model,
        tmp_path,
        tmp_path / "alone",
        {"row_weights": {"column": "kept"}},
        {"tales": 120},
        micro_batch_size=1,
        learning_rate=1e-2,
        lr_scheduler="constant",
        max_steps=6,
        save_steps=6,
    )
    config["plugins"].append("cpu_ranks.CPURanksPlugin")
    alone = train({**config, "gradient_accumulation_steps": 4})
    without = {**config["hbo"], "row_weights": None}
    plain = train({**config, "hbo": without, "output_dir": str(tmp_path / "plain"), "gradient_accumulation_steps": 4})
    together = tmp_path / "together"
    done = start({**config, "output_dir": str(together), "fsdp_version": 2, "fsdp_config": SHARDING}, 2)
    assert done.returncode == 0, done.stderr
    assert lines(together / "hbo_rows.jsonl") == lines(alone / "hbo_rows.jsonl")
    assert told(together) == told(alone)
    found, wanted, unweighed = (np.array([*history(folder, "loss").values()]) for folder in (together, alone, plain))
    np.testing.assert_allclose(found, wanted, atol=0.01)
    assert np.abs(unweighed - wanted).max() > 0.03


def test_the_class_of_the_page_weighs_rows(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(\"\"\"Long answers.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    config = configured(tiny_model, tmp_path, tmp_path / "out", {"row_weights": "my_package.LongAnswers"})
    end = train(config)
    loaded = data.load(load(config, tmp_path), HBOConfig.model_validate(config["hbo"]))
    first, last = told(end)
    for record, steps in ((first, range(3)), (last, range(3, 4))):
        drawn = [row for step in steps for row in lines(end / "hbo_rows.jsonl")[step]["rows"]]
        tokens = np.array([sum(label != -100 for label in loaded.train[row]["labels"][1:]) for row in drawn])
        assert record["mean"] == pytest.approx(np.average((tokens / 100) ** 0.5, weights=tokens))
        assert record["std"] == pytest.approx(np.std((tokens / 100) ** 0.5))


def test_branches_weigh_their_rows_and_leave_the_run_as_it_was(tiny_model: Path, tmp_path: Path) -> None:
    prior = {"sums": 2, "words": 1, "tales": 1}  # of two datasets, the one that counts and another, no branch differs
    branches = {
        "method": "branches",
        "branch_at": 3,
        "branch_steps": 3,
        "branch_budget": 9,
        "prior": prior,
        "even": 1.0,
    }
    changes = {**LORA, "max_steps": 6, "save_steps": 6}

    def trained(name: str, block: dict[str, Any], weights: dict[str, Any] | None) -> Path:
        block = {**HELD_OUT, **block, "row_weights": weights}
        return train(configured(tiny_model, tmp_path, tmp_path / name, block, {**SIZES, "tales": 16}, **changes))

    weighed = {"column": "kept"}
    still = trained("still", {"weights": prior}, weighed)
    branched = trained("branched", branches, weighed)
    plain = trained("plain", branches, None)
    assert lines(branched / "hbo_rows.jsonl") == lines(still / "hbo_rows.jsonl")
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(branched, key) == history(still, key)
    assert told(branched) == told(still)
    effects = [
        record["signals"]["branch_effect"]["words"]["sums"]
        for folder in (branched, plain)
        for record in read_trace(folder)
        if record["event"] == "update"
    ]
    assert effects[0] != pytest.approx(effects[1], rel=1e-3)


class OtherLossPlugin(BasePlugin):
    """A trainer whose loss goes past the logits."""

    batches = 0

    def get_trainer_cls(self, cfg: Any) -> type:
        from axolotl.core.trainers import AxolotlTrainer

        class OtherLossTrainer(AxolotlTrainer):
            def compute_loss(
                self, model: Any, inputs: Any, *args: Any, return_outputs: bool = False, **kwargs: Any
            ) -> Any:
                OtherLossPlugin.batches += 1
                outputs = model(**inputs, output_hidden_states=True)
                loss = outputs.hidden_states[-1].square().mean()
                return (loss, outputs) if return_outputs else loss

        return OtherLossTrainer


@pytest.mark.parametrize("weights", [{"column": "kept"}, "dwm"], ids=str)
def test_a_loss_that_goes_past_the_logits_ends_at_the_first_step(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Any
) -> None:
    module: Any = ModuleType("other_loss")
    module.OtherLossPlugin = OtherLossPlugin
    monkeypatch.setattr(OtherLossPlugin, "batches", 0)
    monkeypatch.setitem(sys.modules, "other_loss", module)
    block = {"row_weights": {"dwm": {"start": 1}} if weights == "dwm" else weights, **HELD_OUT}
    config = configured(tiny_model, tmp_path, tmp_path / "out", block)
    config["plugins"].append("other_loss.OtherLossPlugin")
    with pytest.raises(RuntimeError, match="no gradient came back to the layer that logits come from"):
        train(config)
    assert module.OtherLossPlugin.batches == 1


def test_a_finished_network_serves_another_run_and_must_stay_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    learner = train(configured(tiny_model, tmp_path, tmp_path / "learner", LEARNS, save_steps=4))
    file = learner / NETWORK_FILE
    content = json.loads(file.read_text())
    state, _ = state_file.read(learner / "checkpoint-4")
    parameters = content["parameters"]
    assert parameters == from_json(state["weighing"]["learner"], "parameters", len(parameters)).tolist()
    frozen = configured(
        tiny_model,
        tmp_path,
        tmp_path / "frozen",
        {"row_weights": {"dwm": {"path": str(file), "start": 1}}},
        save_steps=2,
    )
    end = train(frozen)
    assert told(end)[-1]["std"] > 0.01
    assert not (end / NETWORK_FILE).exists()
    frozen["resume_from_checkpoint"] = str(end / "checkpoint-2")
    train(frozen)
    parameters[0] += 1e-3
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"the network in `.*` is not that of the checkpoint; restore the file"):
        train(frozen)
