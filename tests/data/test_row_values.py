"""The column that weighs rows: its numbers stand where their rows do, and one that is no weight is refused by its row."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import Config, load

pytest.importorskip("axolotl")

from transformers import AutoTokenizer

from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data

pytestmark = pytest.mark.axolotl

NAN, INF = float("nan"), float("inf")


def load_data(config: Config, folder: Path) -> Any:
    cfg = load(config, folder)
    return data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def write(folder: Path, name: str, values: Sequence[Any], **columns: Sequence[Any]) -> Config:
    """An entry whose rows can be told apart by their texts, with a column `quality` and others."""
    path = folder / f"{name}.jsonl"
    keys = {"quality": values, **columns}
    rows = [
        {"text": f"{name} has stone number {row}", **{key: column[row] for key, column in keys.items()}}
        for row in range(len(values))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "ds_type": "json", "type": "completion", "field": "text"}


def tokenised(folder: Path, rows: Sequence[tuple[list[int], Any]]) -> Config:
    """An entry of rows that the user tokenised: the labels and the number of each."""
    path = folder / "tokenised.jsonl"
    made = [
        {"input_ids": [5] * len(labels), "attention_mask": [1] * len(labels), "labels": labels, "quality": value}
        for labels, value in rows
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return {"path": str(path), "ds_type": "json", "type": None}


@pytest.fixture
def configured(make_config: Any, tmp_path: Path) -> Any:
    """A function that makes the configuration of a run on these entries."""

    def make(*entries: Config, hbo: Config | None = None, **changes: Any) -> Config:
        block = {"levels": 1, "row_weights": {"column": "quality"}, **(hbo or {})}
        prepared = str(tmp_path / "prepared")
        config: Config = make_config({"tales": 16}, hbo=block, dataset_prepared_path=prepared, **changes)
        return {**config, "datasets": [*entries]}

    return make


def texts(config: Config, rows: Any) -> list[str]:
    """The texts of tokenised rows."""
    tokenizer = AutoTokenizer.from_pretrained(config["base_model"])
    return [str(tokenizer.decode(row["input_ids"], skip_special_tokens=True)) for row in rows]


def by_text(config: Config, key: str = "datasets") -> dict[str, Any]:
    """What the user wrote beside each text."""
    files = [Path(entry["path"]) for entry in config[key]]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return {row["text"]: row["quality"] for row in rows}


@pytest.mark.parametrize("hbo", [{}, {"levels": 3}, {"group_by": "source"}, {"weights": {"a": 1, "b": 0, "c": 2}}])
def test_each_row_to_train_on_has_its_number(configured: Any, tmp_path: Path, hbo: Config) -> None:
    """Integers, booleans and fractions, with rows held out, levels, groups, or a dataset that is left out."""
    rng = np.random.default_rng(5)
    entries = [
        write(tmp_path, name, values, source=[f"{name}{row % 2}" for row in range(len(values))])
        for name, values in {
            "a": rng.integers(0, 9, 40).tolist(),
            "b": (rng.random(24) < 0.5).tolist(),
            "c": rng.random(30).tolist(),
        }.items()
    ]
    config = configured(*entries, hbo=hbo, val_set_size=0.25)
    loaded = load_data(config, tmp_path)
    shown = texts(config, loaded.train)
    assert len(shown) == (70 if "weights" in hbo else 94) - sum(
        len(rows) for name, rows in loaded.judging.sets.items() if "weights" not in hbo or name != "b"
    )
    expected = by_text(config)
    assert loaded.row_values.dtype == np.float64
    assert loaded.row_values.tolist() == [float(expected[text]) for text in shown]
    assert len(set(loaded.row_values.tolist())) > 8
    numbers = [int(text.rsplit(" ", 1)[1]) for text in shown]
    assert loaded.origins.tolist() == numbers


@pytest.mark.parametrize(
    ("values", "row", "shown"),
    [
        ([1, 2.5, None, 1], 3, "null"),
        ([1, NAN, 1, 1], 2, ".nan"),
        ([1, 1, 1, -INF], 4, "-.inf"),
        ([INF, 1, 1, 1], 1, ".inf"),
        ([0, 0, -1, 3], 3, "-1"),
        ([0.5, -0.25, -0.75, 3], 2, "-0.25"),
        (["0.5", "good", "1", "2"], 1, "'0.5'"),
        (["a very long text with many words in it", "", "", ""], 1, "'a very long ...y words in it'"),
        ([[1], [2], [3], [4]], 1, "[1]"),
        ([None, None, None, None], 1, "null"),
    ],
)
def test_a_value_that_is_no_weight_is_named_by_its_row(
    configured: Any, tmp_path: Path, values: list[Any], row: int, shown: str
) -> None:
    config = configured(write(tmp_path, "a", [1.0, 2.0]), write(tmp_path, "b", values), hbo={"levels": 2})
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        load_data(config, tmp_path)
    assert str(error.value) == (
        f"`hbo.row_weights.column: quality` is `{shown}` in row {row} of dataset `b`, but a weight is a finite number, "
        "0 or more; correct or remove the row."
    )


def test_all_datasets_with_a_wrong_value_are_named(configured: Any, tmp_path: Path) -> None:
    entries = [write(tmp_path, name, [1, -1, -2]) for name in ("a", "b")]
    with pytest.raises(ValueError, match=r"row 2 of dataset `a`.*\n.*row 2 of dataset `b`"):
        load_data(configured(*entries), tmp_path)


def test_a_group_is_named_by_its_own_name(configured: Any, tmp_path: Path) -> None:
    entry = write(tmp_path, "mix", [1, 1, -1, 1, -2], source=["x", "y", "y", "x", "x"])
    with pytest.raises(ValueError, match=r"row 5 of dataset `x`.*\n.*row 3 of dataset `y`"):
        load_data(configured(entry, hbo={"group_by": "source"}), tmp_path)


def test_rows_that_are_not_trained_on_need_no_weight(configured: Any, tmp_path: Path) -> None:
    """Held out, dropped as too long, of a group that is left out, or of `test_datasets`, which lack the column."""
    held = [1.0] * 12
    entries = write(tmp_path, "a", held), write(tmp_path, "b", held)
    first = load_data(configured(*entries, val_set_size=0.34), tmp_path)
    config = configured(*entries, val_set_size=0.34)
    out = texts(config, first.judging.rows)
    assert len(out) == 8
    for name, entry in zip("ab", entries, strict=True):
        values = [None if f"{name} has stone number {row}" in out else 2.0 for row in range(12)]
        assert None in values
        assert write(tmp_path, name, values) == entry
    assert load_data(config, tmp_path).row_values.tolist() == [2.0] * 16
    long = tokenised(tmp_path, [([5] * 9, 3.0), ([5] * 200, None), ([5] * 8, 4.0)])
    assert sorted(load_data(configured(long), tmp_path).row_values.tolist()) == [3.0, 4.0]
    mixed = write(tmp_path, "mix", [1, None, 2], source=["x", "y", "x"])
    weights = {"weights": {"x": 1, "y": 0}, "group_by": "source"}
    assert sorted(load_data(configured(mixed, hbo=weights), tmp_path).row_values.tolist()) == [1.0, 2.0]
    exam = {**write(tmp_path, "exam", ["x", "y"]), "split": "train"}
    tested = configured(write(tmp_path, "d", [1, 2]), test_datasets=[exam])
    assert sorted(load_data(tested, tmp_path).row_values.tolist()) == [1.0, 2.0]


def test_a_dataset_that_only_holds_out_needs_no_column(configured: Any, tmp_path: Path) -> None:
    left_out = write(tmp_path, "b", [None] * 20)
    path = Path(left_out["path"])
    path.write_text(path.read_text().replace("quality", "other"))
    config = configured(write(tmp_path, "a", [2] * 20), left_out, hbo={"weights": {"a": 1, "b": 0}}, val_set_size=0.2)
    loaded = load_data(config, tmp_path)
    assert set(loaded.judging.sets) == {"a", "b"}
    assert loaded.row_values.tolist() == [2.0] * len(loaded.train)


@pytest.mark.parametrize("values", [[0, 0], [False, False]])
def test_a_column_of_zeros_is_refused(configured: Any, tmp_path: Path, values: list[Any]) -> None:
    zeros = write(tmp_path, "a", values)
    with pytest.raises(
        ValueError, match="is 0 in every row with a token to train on, so nothing would be learned; name"
    ):
        load_data(configured(zeros), tmp_path)
    one = load_data(configured(zeros, write(tmp_path, "b", [0, 0, 0.5])), tmp_path)
    assert sorted(one.row_values.tolist()) == [0.0] * 4 + [0.5]


def test_a_number_in_a_row_that_teaches_nothing_does_not_count(configured: Any, tmp_path: Path) -> None:
    entry = tokenised(tmp_path, [([-100, -100, -100], 1.0), ([5, 6, 7], 0.0)])
    with pytest.raises(ValueError, match="is 0 in every row with a token to train on"):
        load_data(configured(entry), tmp_path)


def test_a_column_that_a_dataset_lacks_is_refused_before_anything_is_tokenised(
    configured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hbo_plugin import compat_rows

    monkeypatch.setattr(compat_rows, "load_entry", lambda *_: pytest.fail("tokenised"))
    config = configured(write(tmp_path, "a", [1, 2]), hbo={"row_weights": {"column": "qualty"}})
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        load_data(config, tmp_path)
    assert str(error.value) == (
        "`hbo.row_weights.column: qualty` is no column of dataset `a`, which has `text`, `quality`; did you mean `quality`?"
    )


def test_rows_that_axolotl_invents_cannot_be_weighed(configured: Any, tmp_path: Path) -> None:
    config = configured({"path": "synthetic", "type": "_synthetic", "length": 6, "sequence_length": 8})
    with pytest.raises(ValueError, match=r"`hbo\.row_weights.* dataset `synthetic`"):
        load_data(config, tmp_path)


def test_a_changed_number_is_read_anew(configured: Any, tmp_path: Path) -> None:
    config = configured(write(tmp_path, "a", [1, 2, 3]))
    assert sorted(load_data(config, tmp_path).row_values.tolist()) == [1.0, 2.0, 3.0]
    write(tmp_path, "a", [1, 2, 5])
    assert sorted(load_data(config, tmp_path).row_values.tolist()) == [1.0, 2.0, 5.0]


def test_a_column_can_also_order_the_rows(configured: Any, tmp_path: Path) -> None:
    hbo = {"levels": 2, "difficulty": "quality"}
    loaded = load_data(configured(write(tmp_path, "a", [3, 1, 4, 2]), hbo=hbo), tmp_path)
    assert loaded.row_values.tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("row_weights", ["dwm", "my_package.MyWeights", None])
def test_other_row_weights_have_no_values_and_know_where_rows_come_from(
    configured: Any, tmp_path: Path, row_weights: str | None
) -> None:
    loaded = load_data(
        configured(write(tmp_path, "a", [-1, 2]), hbo={"row_weights": row_weights, "record_rows": False}), tmp_path
    )
    assert loaded.row_values is None
    assert (loaded.origins is None) == (row_weights is None)


def test_values_that_weigh_rows_are_no_names_of_groups(configured: Any, tmp_path: Path) -> None:
    """A small group is merged although the name of the column is spelled like it."""
    entry = write(tmp_path, "mix", [1] * 6, source=["quality", *["x"] * 5])
    loaded = load_data(configured(entry, hbo={"group_by": "source", "group_min_rows": 2}), tmp_path)
    assert loaded.cells.names == ("x", "other")
