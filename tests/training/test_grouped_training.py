"""Runs on one file with a column of sources: their shares, held-out losses and levels are those of each source."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resume import assert_resumes
from runs import history, lines, load, read_trace, train
from transformers import AutoTokenizer

from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data

pytestmark = pytest.mark.axolotl

COUNTS = {"chat": 60, "code": 30, "math": 20, "rare": 2}


@pytest.fixture
def grouped(make_config: Any, tmp_path: Path) -> Any:
    """A function that makes the configuration of a run on one file, whose rows of all sources are mixed."""

    def make(hbo: dict[str, Any], **changes: Any) -> dict[str, Any]:
        sources = [source for source, count in COUNTS.items() for _ in range(count)]
        np.random.default_rng(3).shuffle(sources)
        rows = [
            {"text": f"{index} {source} stones by the river", "source": source} for index, source in enumerate(sources)
        ]
        path = tmp_path / "mix.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        block = {"group_by": "source", "group_min_rows": 5, "record_rows": True, **hbo}
        config: dict[str, Any] = make_config({"tales": 16}, hbo=block, **changes)
        config["datasets"][0]["path"] = str(path)
        return config

    return make


def sources_trained_on(config: dict[str, Any], folder: Path) -> Counter[str]:
    """Counted from outside: the recorded rows, read as text, and looked up in the user's file."""
    cfg = load(config, folder.parent)
    rows = data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict())).train["input_ids"]
    raw = [json.loads(line) for line in Path(config["datasets"][0]["path"]).read_text().splitlines()]
    source = {row["text"]: row["source"] for row in raw}
    tokenizer = AutoTokenizer.from_pretrained(config["base_model"])
    drawn = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    return Counter(source[str(tokenizer.decode(rows[row], skip_special_tokens=True))] for row in drawn)


@pytest.mark.parametrize("packed", [False, True])
def test_rows_of_the_file_are_drawn_by_the_weights_of_their_sources(grouped: Any, *, packed: bool) -> None:
    weights = {"chat": 0.5, "code": 0.2, "math": 0.2, "other": 0.1}
    changes = {"sample_packing": True, "max_steps": 16, "num_epochs": 9} if packed else {"max_steps": 64}
    config = grouped({"weights": weights}, save_steps=64, **changes)
    folder = train(config)
    counted = sources_trained_on(config, folder)
    counted["other"] = counted.pop("rare")
    total = sum(counted.values())
    assert total >= 250
    off = max(abs(counted[name] - weight * total) for name, weight in weights.items())
    assert off <= (8 if packed else 1)  # some rows that were drawn still wait for a bin
    assert list(read_trace(folder)[0]["weights"]) == ["chat", "code", "math", "other"]


def test_each_source_has_levels_and_a_held_out_loss(grouped: Any) -> None:
    hbo = {"update_every": 3, "levels": 2, "gradient_rows": 4, "forward_rows": 4, "val_set_size": {"math": 5}}
    folder = train(grouped(hbo, val_set_size=0.2, eval_steps=4, max_steps=8))
    losses = {name: history(folder, f"eval_{name}_loss")[8] for name in ("chat", "code", "math")}
    assert len(set(losses.values())) == 3
    assert list(lines(folder / "hbo_trace.jsonl")[-2]["held_out"]) == ["chat", "code", "math"]
    start, *_, end = read_trace(folder)
    assert {name: len(of) for name, of in start["weights"].items()} == {"chat": 2, "code": 2, "math": 2, "other": 2}
    assert end["weights"] != start["weights"]


def test_a_killed_run_goes_on(grouped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hbo = {"update_every": 3, "levels": 2, "gradient_rows": 4, "forward_rows": 4}
    assert_resumes(grouped(hbo, sample_packing=True, num_epochs=9, max_steps=8), monkeypatch, crash_at=5)
