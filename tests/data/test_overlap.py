"""Held-out rows that are trained on too are counted and said; and a target of which no row is left is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from datasets import Dataset
from runs import load

from hbo_plugin.args import HBOConfig
from hbo_plugin.data.overlap import notes_on_overlap
from hbo_plugin.data.rows import lengths
from hbo_plugin.signals.context import HeldOutRows

if TYPE_CHECKING:
    from pathlib import Path


def rows(*ids: list[int]) -> Dataset:
    return Dataset.from_list([{"input_ids": each} for each in ids])


def test_rows_with_the_same_tokens_are_counted() -> None:
    train = rows([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
    held = rows([4, 5], [1, 2, 4], [6], [6], [11])
    sets = {"exam": range(3), "quiz": range(3, 4), "new": range(4, 5)}
    held_out = HeldOutRows(held, lengths(held), sets)
    some, all_ = notes_on_overlap(train, held_out)
    assert some == (
        "2 of 3 rows of the held-out set `exam` are trained on too, so its loss tells how well they are remembered; take them "
        "out of one of the two"
    )
    assert all_.startswith("1 of 1 rows of the held-out set `quiz` are trained on too")
    assert notes_on_overlap(train.select([3]), held_out) == []


@pytest.mark.axolotl
def test_a_target_that_is_a_training_file_gets_a_note(make_config: Any, tmp_path: Path) -> None:
    from hbo_plugin.data.load import load as load_data

    config = make_config(hbo={"levels": 1, "target": ["sums"]}, val_set_size=None)
    config["test_datasets"] = [{**config["datasets"][0], "split": "train"}]
    cfg = load(config, tmp_path)
    (note,) = [
        each
        for each in load_data(cfg, HBOConfig.model_validate(cfg.hbo.to_dict())).notes
        if "are trained on too" in each
    ]
    assert note.startswith("40 of 40 rows of the held-out set `sums`")


@pytest.mark.axolotl
def test_a_target_of_rows_that_are_all_too_long_is_refused(make_config: Any, tmp_path: Path) -> None:
    from hbo_plugin.data.load import load as load_data

    config = make_config(hbo={"levels": 1, "target": ["exam"]}, val_set_size=None)
    path = tmp_path / "exam.jsonl"
    long = {"instruction": "Count.", "input": "", "output": " ".join(map(str, range(200)))}
    path.write_text("".join(json.dumps(long) + "\n" for _ in range(6)))
    config["test_datasets"] = [{"path": str(path), "ds_type": "json", "split": "train", "type": "alpaca"}]
    cfg = load(config, tmp_path)
    with pytest.raises(ValueError, match="exam"):
        load_data(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
