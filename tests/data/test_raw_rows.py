"""Raw rows: each prepared row knows the row of the user's data that it was made of, whatever Axolotl does on the way."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("axolotl")

from datasets import Dataset, DatasetDict
from runs import load
from transformers import AutoTokenizer

from hbo_plugin import compat
from hbo_plugin.data.entries import Entries
from hbo_plugin.data.prepared import Prepared, Preparer

pytestmark = pytest.mark.axolotl

TALES = [f"Tale {i} is about {'a stone, ' * (i % 5)}a river." for i in range(20)]


def prepare(config: dict[str, Any], folder: Path, split: str = "train") -> Prepared:
    cfg = load({"dataset_prepared_path": str(folder / "prepared"), **config}, folder)
    preparer = Preparer(Entries(cfg), compat.load_tokenizer(cfg))
    (entry,) = cfg.datasets if split == "train" else cfg.test_datasets
    return preparer.load("x", entry, split=split)


def texts(config: dict[str, Any], part: Prepared) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(config["base_model"])
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in part.rows["input_ids"]]


def raw_row(part: Prepared) -> list[int]:
    assert part.raw_row is not None
    return [int(row) for row in part.raw_row]


@pytest.fixture
def tales(make_config: Any, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "tales.jsonl"
    path.write_text("".join(json.dumps({"text": tale}) + "\n" for tale in TALES))
    entry = {"path": str(path), "ds_type": "json", "type": "completion", "field": "text"}
    config: dict[str, Any] = make_config({"tales": 16}, dataset_prepared_path=str(tmp_path / "prepared"))
    return {**config, "datasets": [entry]}


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize("name", ["sums", "words", "tales"])
def test_every_kind_of_rows_in_any_number_of_processes(
    make_config: Any, tmp_path: Path, name: str, processes: int
) -> None:
    config = make_config({name: 40}, dataset_num_proc=processes)
    raw = [json.loads(line) for line in Path(config["datasets"][0]["path"]).read_text().splitlines()]
    answers = [row.get("output") or row.get("text") or row["messages"][1]["content"] for row in raw]
    part = prepare(config, tmp_path)
    assert sorted(raw_row(part)) == list(range(40))
    assert raw_row(part) != list(range(40))
    shown = texts(config, part)
    assert all(text.strip().endswith(answers[row]) for text, row in zip(shown, raw_row(part), strict=True))


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"shards": 4, "shards_idx": 1}, 5),
        ({"preprocess_shards": 3}, 20),
        ({"weight": 0.5}, 10),
        ({"split": "train[5:]"}, 15),
    ],
)
def test_a_part_of_the_rows(tales: dict[str, Any], tmp_path: Path, change: dict[str, Any], count: int) -> None:
    tales["datasets"][0].update(change)
    if "weight" in change and compat.axolotl_version().startswith("0.19."):
        count = 20  # which ignores it
    part = prepare(tales, tmp_path)
    first = 5 if "split" in change else 0
    assert len(part.lengths) == len(set(raw_row(part))) == part.raw_rows == count
    assert texts(tales, part) == [TALES[first + row] for row in raw_row(part)]


@pytest.mark.parametrize("packed", [False, True])
def test_rows_that_are_dropped_split_or_cut(tales: dict[str, Any], tmp_path: Path, *, packed: bool) -> None:
    """A long completion becomes several rows, and what is left of it may be too short to stay."""
    part = prepare({**tales, "sequence_len": 16, "min_sample_len": 6, "sample_packing": packed}, tmp_path)
    shown = texts(tales, part)
    assert all(text in TALES[row] for text, row in zip(shown, raw_row(part), strict=True))
    assert len(shown) > len(set(raw_row(part)))
    assert sum(map(len, shown)) < sum(map(len, TALES))


def test_doubled_rows_are_still_removed(tales: dict[str, Any], tmp_path: Path) -> None:
    path = Path(tales["datasets"][0]["path"])
    path.write_text(path.read_text() * 2)
    part = prepare({**tales, "dataset_exact_deduplication": True}, tmp_path)
    assert sorted(row % 20 for row in raw_row(part)) == list(range(20))
    assert texts(tales, part) == [TALES[row % 20] for row in raw_row(part)]


def test_rows_that_the_user_tokenised(tales: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"input_ids": [i, 7], "attention_mask": [1, 1], "labels": [i, 7]} for i in range(9)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tales["datasets"] = [{"path": str(tmp_path / "own.jsonl"), "ds_type": "json", "type": None}]
    part = prepare(tales, tmp_path)
    assert [ids[0] for ids in part.rows["input_ids"]] == raw_row(part)


def test_splits_on_disk_count_for_themselves(tales: dict[str, Any], tmp_path: Path) -> None:
    splits = {"train": TALES[:12], "test": TALES[12:], "more": TALES[:3]}
    DatasetDict({name: Dataset.from_dict({"text": rows}) for name, rows in splits.items()}).save_to_disk(tmp_path / "d")
    entry = {"path": str(tmp_path / "d"), "type": "completion", "field": "text"}
    for split, config in [
        ("train", {**tales, "datasets": [entry]}),
        ("more", {**tales, "datasets": [{**entry, "split": "more"}]}),
        ("test", {**tales, "test_datasets": [entry], "val_set_size": 0}),
    ]:
        part = prepare(config, tmp_path, "test" if split == "test" else "train")
        assert texts(tales, part) == [splits[split][row] for row in raw_row(part)]
        assert len(part.lengths) == len(splits[split])


def test_rows_that_axolotl_invents_have_none(tales: dict[str, Any], tmp_path: Path) -> None:
    tales["datasets"] = [{"path": "synthetic", "type": "_synthetic", "length": 6, "sequence_length": 8}]
    assert prepare(tales, tmp_path).raw_row is None


def test_a_failing_row_is_named_by_its_place_in_the_file(make_config: Any, tmp_path: Path) -> None:
    config = make_config({"words": 12})
    entry = config["datasets"][0]
    rows = [json.loads(line) for line in Path(entry["path"]).read_text().splitlines()]
    rows[7]["messages"] = []
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["datasets"] = [{**entry, "path": str(path), "preprocess_shards": 2}]
    with pytest.raises(ValueError, match="dataset `x`: row 8, whose `messages` is empty"):
        prepare(config, tmp_path)


def test_a_shard_of_the_prepared_rows(tales: dict[str, Any], tmp_path: Path) -> None:
    """Axolotl saves all of them, and then takes the shard."""
    part = prepare({**tales, "dataset_shard_num": 2, "dataset_shard_idx": 1}, tmp_path)
    assert len(part.lengths) == len(part.rows) == 10
    assert texts(tales, part) == [TALES[row] for row in raw_row(part)]
