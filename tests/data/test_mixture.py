"""The mixture by a column: each row is in the dataset that its own value names, and names are checked before tokenising."""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("axolotl")

from datasets import Dataset
from runs import TASKS, load
from transformers import AutoTokenizer

from hbo_plugin import compat_rows
from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data
from hbo_plugin.data.mixture import Mixture, find_mixture

pytestmark = pytest.mark.axolotl

SOURCES = ["chat", "math", "code"]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write tales, each with a source in its text and its column; by default they take turns."""

    def write(name: str, sources: Sequence[Any], column: str = "source") -> Path:
        path = tmp_path / f"{name}.jsonl"
        rows = [{"text": f"{source} {name} {index} stones", column: source} for index, source in enumerate(sources)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def entry(path: Path, **keys: Any) -> dict[str, Any]:
    return {"path": str(path), "ds_type": "json", "type": "completion", "field": "text", **keys}


@pytest.fixture
def make(make_config: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A configuration of entries grouped by `source`."""

    def make(*entries: dict[str, Any], hbo: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
        block = {"group_by": "source", "levels": 1, **(hbo or {})}
        config = make_config({"tales": 16}, hbo=block, dataset_prepared_path=str(tmp_path / "prepared"), **keys)
        return {**config, "datasets": list(entries)}

    return make


def mixture_of(config: dict[str, Any], folder: Path) -> Mixture:
    cfg = load(config, folder)
    return find_mixture(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def load_data(config: dict[str, Any], folder: Path) -> data.RunData:
    cfg = load(config, folder)
    return data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def texts(config: dict[str, Any], rows: Any) -> list[str]:
    tokenizer = AutoTokenizer.from_pretrained(config["base_model"])
    return [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in rows["input_ids"]]


def by_dataset(config: dict[str, Any], loaded: data.RunData) -> dict[str, list[str]]:
    shown = texts(config, loaded.train)
    return {
        name: [shown[row] for row in loaded.cells.dataset_rows(index)] for index, name in enumerate(loaded.cells.names)
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("task", ["sums", "words", "tales"])
def test_every_kind_of_rows(make_config: Any, tmp_path: Path, task: str, *, packed: bool) -> None:
    config = make_config({task: 24}, sample_packing=packed, hbo={"group_by": "source", "levels": 2})
    rows = [{**row, "source": SOURCES[index % 3]} for index, row in enumerate(TASKS[task](24))]
    path = tmp_path / "mix.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config["datasets"][0]["path"] = str(path)
    loaded = load_data(config, tmp_path)
    assert loaded.cells.names == ("chat", "code", "math")
    assert loaded.cells.sizes.tolist() == [[4, 4]] * 3
    answers = [row.get("output") or row.get("text") or row["messages"][1]["content"] for row in rows]
    for name, shown in by_dataset(config, loaded).items():
        mine = Counter(answer for row, answer in zip(rows, answers, strict=True) if row["source"] == name)
        assert all(any(text.strip().endswith(answer) for answer in mine) for text in shown)
    assert loaded.raw_rows == {"chat": 8, "code": 8, "math": 8}


def test_rows_that_the_user_tokenised(make: Any, tmp_path: Path) -> None:
    rows = [
        {"input_ids": [9 + i % 3, 7], "attention_mask": [1, 1], "labels": [5, 7], "source": i % 3} for i in range(9)
    ]
    Dataset.from_list(rows).save_to_disk(tmp_path / "own")
    loaded = load_data(make({"path": str(tmp_path / "own"), "type": None}), tmp_path)
    assert loaded.cells.names == ("0", "1", "2")
    assert [ids[0] for ids in loaded.train["input_ids"]] == [9] * 3 + [10] * 3 + [11] * 3


def test_levels_inside_and_held_out_rows_of_each(make: Any, write: Write, tmp_path: Path) -> None:
    hbo = {"levels": {"math": 3}, "difficulty": "hardness", "val_set_size": {"code": 2}, "max_epochs": {"math": 2}}
    path = write("mix", SOURCES * 12)
    rows = [{**json.loads(line), "hardness": -index} for index, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = make(entry(path), hbo=hbo, val_set_size=0.25)
    loaded = load_data(config, tmp_path)
    assert loaded.cells.sizes.sum(1).tolist() == [9, 10, 9]
    assert loaded.cells.sizes[2].tolist() == [3, 3, 3, 0]
    order = [int(text.split()[2]) for text in by_dataset(config, loaded)["math"]]
    assert order == sorted(order, reverse=True)
    assert {name: len(rows) for name, rows in loaded.judging.sets.items()} == {"chat": 3, "code": 2, "math": 3}
    assert loaded.judging.rows is not None
    shown = texts(config, loaded.judging.rows)
    for name, numbers in loaded.judging.sets.items():
        assert all(shown[row].startswith(name) for row in numbers)
    assert len({*texts(config, loaded.train), *shown}) == 36


def test_held_out_sets_are_split_by_their_values_too(make: Any, write: Write, tmp_path: Path) -> None:
    config = make(entry(write("mix", ["chat", "math", "math", "rare"] * 4)), hbo={"group_min_rows": 5})
    config["test_datasets"] = [
        entry(write("exam", ["math", "chat", "new", "rare"] * 2), split="train"),
        entry(write("plain", ["x"] * 3, column="nothing"), split="train"),
    ]
    mixture = mixture_of(config, tmp_path)
    assert mixture.names == ["math", "other"]
    assert mixture.sets == ["math", "new", "other", "plain"]
    loaded = load_data(config, tmp_path)
    assert loaded.tied == {"math": "math", "other": "other"}
    assert loaded.judging.rows is not None
    shown = texts(config, loaded.judging.rows)
    found = {name: Counter(shown[row].split()[0] for row in rows) for name, rows in loaded.judging.sets.items()}
    assert found == {"math": {"math": 2}, "new": {"new": 2}, "other": {"chat": 2, "rare": 2}, "plain": {"x": 3}}


def test_an_entry_without_the_column_stays_one(make: Any, write: Write, tmp_path: Path) -> None:
    entries = [entry(write("mix", ["math", "plain"] * 4)), entry(write("plain", ["x"] * 4, column="kind"))]
    config = make(*entries, hbo={"names": ["blend", "plain"]})
    loaded = load_data(config, tmp_path)
    assert loaded.cells.names == ("math", "blend/plain", "plain")
    shown = {name: {text.split()[0] for text in rows} for name, rows in by_dataset(config, loaded).items()}
    assert shown == {"math": {"math"}, "blend/plain": {"plain"}, "plain": {"x"}}
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        mixture_of({**config, "hbo": {"group_by": "sorce"}}, tmp_path)
    assert str(error.value) == (
        "`hbo.group_by: sorce` is no column of dataset `mix`, `plain`, which have `text`, `source`, `kind`; "
        "did you mean `source`?"
    )


def test_merged_values_are_told_and_named_ones_stay(make: Any, write: Write, tmp_path: Path) -> None:
    sources = ["math"] * 9 + ["a", "b", "b", "c"]
    loaded = load_data(make(entry(write("mix", sources)), hbo={"group_min_rows": 3, "levels": {"c": 1}}), tmp_path)
    assert loaded.cells.names == ("c", "math", "other")
    assert loaded.raw_rows == {"c": 1, "math": 9, "other": 3}
    assert "dataset `other` has the 3 rows of `a`, `b`, which have fewer than 3 rows each" in loaded.notes


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["a", None, "b"], "`hbo.group_by: source` has no value in row 2 of dataset `mix`; correct or remove the row."),
        ([0.5, 1.5], "`hbo.group_by: source` is a column of type `double` in dataset `mix`, but it must hold text"),
        ([["a"], ["b"]], "`hbo.group_by: source` is a column of type `list<"),
        (
            ["a", "b", " c"],
            "`hbo.group_by: source` has the value ' c' in row 3 of dataset `mix`, but a name is text on one",
        ),
        (
            [f"v{index}" for index in range(257)],
            "`hbo.group_by` would make 257 datasets of `mix`, but it makes 256 at most",
        ),
    ],
)
def test_a_column_that_names_no_datasets(
    make: Any, write: Write, tmp_path: Path, sources: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        mixture_of(make(entry(write("mix", sources))), tmp_path)


@pytest.mark.parametrize(("sources", "names"), [([10, 9, 10], ["9", "10"]), ([True, False], ["false", "true"])])
def test_values_that_are_no_text(make: Any, write: Write, tmp_path: Path, sources: list[Any], names: list[str]) -> None:
    assert mixture_of(make(entry(write("mix", sources))), tmp_path).names == names


@pytest.mark.parametrize(
    ("hbo", "message"),
    [
        (
            {"levels": {"maths": 2}},
            "`hbo.levels` names the dataset `maths`, but the datasets are `chat`, `code`, `math`; did",
        ),
        ({"max_epochs": {"mix": 2}}, "`hbo.max_epochs` names the dataset `mix`, but the datasets are `chat`, `code`"),
        (
            {"difficulty": "hardness", "levels": 2},
            "`hbo.difficulty: hardness` is no column of dataset `mix`, which has `text`",
        ),
    ],
)
def test_names_are_checked_before_anything_is_tokenised(
    make: Any, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hbo: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(compat_rows, "load_entry", lambda *_: pytest.fail("tokenised"))
    with pytest.raises(ValueError, match=re.escape(message)):
        load_data(make(entry(write("mix", SOURCES * 2)), hbo=hbo), tmp_path)


def test_rows_are_prepared_once_whatever_groups_them(
    make: Any, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And columns are read once; a changed file makes both anew."""
    path = write("mix", SOURCES * 4)
    config = make(entry(path))
    plain = {**config, "hbo": {"levels": 1}}
    load_data(plain, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(compat_rows, "load_entry", lambda *_: pytest.fail("tokenised"))
        load_data(config, tmp_path)
        patch.setattr(compat_rows, "raw_rows", lambda *_: pytest.fail("read"))
        assert load_data(config, tmp_path).cells.names == ("chat", "code", "math")
        (kept,) = tmp_path.glob("prepared/hbo/columns/*.arrow")
        kept.write_bytes(kept.read_bytes()[:100])
        patch.undo()
    assert load_data(config, tmp_path).cells.names == ("chat", "code", "math")
    write("mix", ["chat", "law"] * 4)
    assert load_data(config, tmp_path).cells.names == ("chat", "law")


def test_data_on_a_hub_that_changed_is_prepared_anew(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "rows": [{"text": f"{source} {index} stones", "source": source} for index, source in enumerate(SOURCES * 3)]
    }
    monkeypatch.setattr(
        "axolotl.utils.data.sft.load_dataset_with_config", lambda *_, **__: Dataset.from_list(made["rows"])
    )
    config = make({"path": "somebody/mix", "type": "completion", "field": "text"})
    load_data({**config, "hbo": {"levels": 1}}, tmp_path)
    made["rows"] = made["rows"][::-1][:-2]
    loaded = load_data(config, tmp_path)
    assert loaded.raw_rows == {"chat": 2, "code": 3, "math": 2}
    for name, shown in by_dataset(config, loaded).items():
        assert all(text.startswith(name) for text in shown)


def test_rows_that_do_not_tell_what_they_were_made_of(make: Any, write: Write, tmp_path: Path) -> None:
    path = write("mix", SOURCES)
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "source": "x"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows * 4))
    chat = {"path": str(path), "ds_type": "json", "type": "messages.chat", "field_messages": "messages"}
    config = make({**chat, "message_property_mappings": {"role": "role", "content": "content"}})
    with pytest.raises(
        ValueError, match=r"`hbo\.group_by` looks up a column of dataset `mix`, but its `type` does not tell"
    ):
        load_data(config, tmp_path)


def test_a_single_dataset_is_told_how_to_become_more(make: Any, write: Write, tmp_path: Path) -> None:
    config = make(entry(write("mix", SOURCES * 4)))
    more = "`hbo.group_by: COLUMN` makes a dataset of each value of a column"
    notes = [load_data({**config, "hbo": hbo}, tmp_path).notes for hbo in ({}, {"levels": 1}, config["hbo"])]
    assert notes == [
        [f"there is one dataset, so hbo balances its 4 levels only; {more}"],
        [f"there is one dataset, so there is nothing for hbo to balance; {more}"],
        [],
    ]


def test_a_merge_without_a_column(make: Any, write: Write, tmp_path: Path) -> None:
    config = {**make(entry(write("mix", SOURCES))), "hbo": {"group_min_rows": 5}}
    with pytest.raises(
        ValueError, match=re.escape("`hbo.group_min_rows: 5` was given, but there is no `hbo.group_by`")
    ):
        mixture_of(config, tmp_path)
