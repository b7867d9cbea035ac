"""The configs that show what users ask for first train the tiny model on small data, and the rows they drew are counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import Config, history, read_trace, train

from hbo_plugin import drawn_rows

pytestmark = pytest.mark.axolotl

FOLDER = Path(__file__).parents[2] / "axolotl_configs"
MACHINE = (
    "base_model", "chat_template", "bf16", "tf32", "attn_implementation", "special_tokens", "sequence_len", "max_steps",
    "micro_batch_size", "gradient_accumulation_steps", "optimizer", "dataset_prepared_path", "output_dir", "save_steps",
    "save_total_limit", "eval_steps", "logging_steps", "gradient_checkpointing",
)  # fmt: skip
"""Keys that the tiny run sets for itself."""


def row(kind: Any, index: int, source: str) -> Config:
    """A row for an entry of a `type`, from a source."""
    question, answer = f"What is {index} plus {index}?", " ".join(str(2 * index) for _ in range(1 + index % 5))
    if kind == "chat_template":
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        return {"messages": messages, "source": source}
    asked, answered = (
        ("instruction", "output") if kind == "alpaca" else (kind["field_instruction"], kind["field_output"])
    )
    return {asked: question, answered: answer, "input": "", "source": source}


def small(name: str, make_config: Any, folder: Path, rows: dict[str, list[str]], steps: int) -> Config:
    """A config for the tiny model.

    Args:
        name: of the config.
        make_config: the fixture.
        folder: for the data.
        rows: of each path, the source of each row.
        steps: of the run.
    """
    written: Config = yaml.safe_load((FOLDER / name).read_text())
    for part in ("datasets", "test_datasets"):
        for entry in written.get(part, []):
            path = folder / part / f"{entry['path'].rsplit('/', 1)[-1]}.jsonl"
            path.parent.mkdir(exist_ok=True)
            made = (row(entry["type"], index, source) for index, source in enumerate(rows[entry["path"]]))
            path.write_text("".join(json.dumps(each) + "\n" for each in made))
            entry.pop("name", None)
            entry.update(path=str(path), ds_type="json", split="train")
    written["hbo"]["record_rows"] = True
    kept = {key: value for key, value in written.items() if key not in MACHINE}
    packing = {"sequence_len": 256, "sample_packing": written.get("sample_packing")}
    config: Config = make_config(**{**kept, **packing, "max_steps": steps, "save_steps": steps, "eval_steps": steps})
    return config


def drawn(folder: Path) -> Counter[str]:
    """How many rows of each dataset a run drew, from its record."""
    return Counter(each.dataset for each in drawn_rows(folder))


def test_fixed_shares(make_config: Any, tmp_path: Path) -> None:
    shares = {"alpaca": 50, "CodeFeedback-Filtered-Instruction": 30, "no_robots": 20}
    paths = ["tatsu-lab/alpaca", "m-a-p/CodeFeedback-Filtered-Instruction", "HuggingFaceH4/no_robots"]
    rows = {path: [""] * count for path, count in zip(paths, (150, 60, 20), strict=True)}
    folder = train(small("fixed-shares.yml", make_config, tmp_path, rows, steps=60))
    last = read_trace(folder)[-1]
    tokens = {name: sum(counts) for name, counts in last["trained_tokens"].items()}
    for name, share in shares.items():
        assert tokens[name] / sum(tokens.values()) == pytest.approx(share / 100, abs=0.02)
    assert {name: sum(counts) for name, counts in last["rows_trained"].items()} == drawn(folder)


def test_a_target_with_helpers(make_config: Any, tmp_path: Path) -> None:
    """The target's rows are drawn four times, as far as whole rows allow, and the others share what is left."""
    rows = {path: [""] * 60 for path in ("openai/gsm8k", "meta-math/MetaMathQA", "HuggingFaceH4/no_robots")}
    rows["openai/gsm8k"] = [""] * 12
    folder = train(small("target-with-helpers.yml", make_config, tmp_path, rows, steps=6))
    counts = drawn(folder)
    assert counts["gsm8k"] in range(44, 49)
    assert counts["MetaMathQA"] == pytest.approx(counts["no_robots"], rel=0.1)
    assert counts["MetaMathQA"] > 80
    assert history(folder, "eval_target_loss")[6] == history(folder, "eval_gsm8k_loss")[6]


def test_one_dataset_by_column(make_config: Any, tmp_path: Path) -> None:
    """Six sources, of which two are too small; what is drawn of each, by the rows of the user's own file."""
    sources = ["flan"] * 60 + ["code"] * 40 + ["chat"] * 20 + ["rare"] * 3 + ["rarer"] * 2
    config = small(
        "one-dataset-by-column.yml", make_config, tmp_path, {"allenai/tulu-3-sft-mixture": sources}, steps=20
    )
    config["hbo"] |= {"group_min_rows": 10, "update_every": 50, "max_epochs": None}
    folder = train(config)
    rows = [*drawn_rows(folder)]
    for each in rows:
        source = sources[each.raw_row - 1]
        assert each.dataset == (source if source in {"flan", "code", "chat"} else "other")
    weights = {name: sum(levels) for name, levels in read_trace(folder)[0]["weights"].items()}
    assert list(weights) == ["chat", "code", "flan", "other"]
    for name, count in drawn(folder).items():
        assert count / len(rows) == pytest.approx(weights[name], abs=0.02)
