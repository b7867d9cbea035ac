"""Data: levels are quantiles, no row is dropped, names are told apart, and what was kept is what the user wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from runs import load

from hbo_plugin.cells import Cells
from hbo_plugin.data.layout import cut_levels

SCORES = arrays(np.float64, st.integers(1, 60), elements=st.one_of(st.just(np.nan), st.integers(-3, 3).map(float)))


@given(SCORES, st.integers(1, 8))
def test_levels_are_quantiles_of_every_row(scores: Any, levels: int) -> None:
    order, sizes = cut_levels(scores, levels)
    assert sorted(order) == list(range(len(scores)))
    assert sizes.sum() == len(scores)
    assert sizes.max() - sizes.min() <= 1
    known = scores[order][~np.isnan(scores[order])]
    assert (np.diff(known) >= 0).all()


def test_rows_without_a_score_stand_in_the_middle() -> None:
    order, _ = cut_levels(np.array([np.nan, 3.0, 1.0, 2.0, np.nan]), 2)
    assert order.tolist() == [2, 0, 3, 4, 1]


def test_ties_keep_the_order_of_the_data() -> None:
    assert cut_levels(np.zeros(5), 2)[0].tolist() == [0, 1, 2, 3, 4]


def test_cells_know_their_rows() -> None:
    cells = Cells(("a", "b"), np.array([[2, 3], [1, 4]]), np.ones(10, np.int32), np.ones(10, np.int32), ("", ""))
    assert [list(cells.rows(cell)) for cell in range(4)] == [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]]
    assert [list(cells.dataset_rows(dataset)) for dataset in range(2)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert cells.of(np.arange(10)).tolist() == [0, 0, 1, 1, 1, 2, 3, 3, 3, 3]


def load_data(config: dict[str, Any], folder: Path) -> Any:
    pytest.importorskip("axolotl")
    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data import load as data

    cfg = load(config, folder)
    return data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def text(config: dict[str, Any], row: dict[str, Any]) -> str:
    from transformers import AutoTokenizer

    return str(AutoTokenizer.from_pretrained(config["base_model"]).decode(row["input_ids"], skip_special_tokens=True))


@pytest.mark.axolotl
@pytest.mark.parametrize("name", ["sums", "words", "tales"])
def test_a_column_of_the_user_s_data_orders_every_kind_of_dataset(make_config: Any, tmp_path: Path, name: str) -> None:
    config = make_config({name: 16}, hbo={"levels": 4, "difficulty": "hardness"})
    loaded = load_data(config, tmp_path)
    assert loaded.cells.sizes.tolist() == [[4, 4, 4, 4]]
    assert sorted(loaded.train.column_names) == ["attention_mask", "input_ids", "labels"]
    raw = [json.loads(line) for line in Path(config["datasets"][0]["path"]).read_text().splitlines()]
    answers = {"sums": "output", "tales": "text"}
    ranks = {(row[answers[name]] if name in answers else row["messages"][1]["content"]): row["hardness"] for row in raw}
    shown = [text(config, row) for row in loaded.train]
    found = [ranks[max((answer for answer in ranks if row.strip().endswith(answer)), key=len)] for row in shown]
    assert found == sorted(row["hardness"] for row in raw)


@pytest.mark.axolotl
def test_a_column_that_does_not_exist(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        load_data(make_config({"sums": 16}, hbo={"difficulty": "hardnes"}), tmp_path)
    assert str(error.value) == (
        "`hbo.difficulty: hardnes` is no column of dataset `sums`, which has `instruction`, `input`, `output`, `hardness`; "
        "did you mean `hardness`?"
    )


@pytest.mark.axolotl
def test_a_mistyped_kind_of_difficulty(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"of dataset `sums`, which has .*; did you mean `perplexity`\?$"):
        load_data(make_config({"sums": 16}, hbo={"difficulty": "perplexty"}), tmp_path)


@pytest.mark.axolotl
def test_high_scores_can_be_the_easiest(make_config: Any, tmp_path: Path) -> None:
    hbo = {"levels": 4, "difficulty": "hardness"}
    rows = [
        load_data(make_config({"tales": 16}, hbo={**hbo, "easiest": easiest}), tmp_path).train["input_ids"][:]
        for easiest in ("low", "high")
    ]
    assert rows[0] == rows[1][::-1]


@pytest.mark.axolotl
def test_a_column_that_is_no_number(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`hbo\.difficulty: output` is not a number in every row of dataset `sums`"):
        load_data(make_config({"sums": 16}, hbo={"difficulty": "output"}), tmp_path)


@pytest.mark.axolotl
def test_a_dataset_with_fewer_rows_than_levels_has_a_level_for_each_row(make_config: Any, tmp_path: Path) -> None:
    loaded = load_data(make_config({"sums": 16, "words": 3}, hbo={"levels": 4}), tmp_path)
    assert loaded.cells.sizes.tolist() == [[4, 4, 4, 4], [1, 1, 1, 0]]
    assert loaded.notes == ["dataset `words` has 3 instead of 4 levels, because it has 3 rows to train on"]


@pytest.mark.axolotl
def test_levels_by_dataset(make_config: Any, tmp_path: Path) -> None:
    loaded = load_data(
        make_config({"sums": 16, "words": 16, "tales": 16}, hbo={"levels": {"words": 2, "tales": 1}}), tmp_path
    )
    assert loaded.cells.sizes.tolist() == [[4, 4, 4, 4], [8, 8, 0, 0], [16, 0, 0, 0]]
    assert loaded.notes == []
    assert [len(loaded.cells.dataset_rows(dataset)) for dataset in range(3)] == [16, 16, 16]


@pytest.mark.axolotl
@pytest.mark.parametrize(("val_set_size", "held"), [(0.25, {"sums": 4, "words": 10}), (14, {"sums": 4, "words": 10})])
def test_each_dataset_holds_out_its_share(
    make_config: Any, tmp_path: Path, val_set_size: float, held: dict[str, int]
) -> None:
    loaded = load_data(make_config({"sums": 16, "words": 40}, val_set_size=val_set_size), tmp_path)
    assert {name: len(rows) for name, rows in loaded.judging.sets.items()} == held
    assert len(loaded.train) + len(loaded.judging.rows) == 56
    kept = {tuple(row["input_ids"]) for row in loaded.train.select(range(12))}
    out = {tuple(row["input_ids"]) for row in loaded.judging.rows.select(range(4))}
    assert len(kept) == 12
    assert not kept & out


@pytest.mark.axolotl
def test_a_test_set_belongs_to_the_dataset_of_its_name_in_any_order(make_config: Any, tmp_path: Path) -> None:
    config = make_config({"sums": 16, "words": 40})
    config["test_datasets"] = [{**entry, "split": "train"} for entry in reversed(config["datasets"])]
    loaded = load_data(config, tmp_path)
    assert loaded.judging.sets == {"words": range(40), "sums": range(40, 56)}
    assert loaded.tied == {"sums": "sums", "words": "words"}
    assert len(loaded.train) == 56


@pytest.mark.axolotl
def test_a_name_that_metrics_write_differently_is_noted(make_config: Any, tmp_path: Path) -> None:
    config = make_config({"sums": 16, "words": 40}, val_set_size=0.5, hbo={"levels": 2, "names": ["goal", "a/b"]})
    loaded = load_data(config, tmp_path)
    assert list(loaded.judging.sets) == ["goal", "a/b"]
    assert loaded.metric_names == {"goal": "goal", "a/b": "a-b"}
    assert loaded.notes == ["in metrics, `a/b` is written `a-b`"]


@pytest.mark.axolotl
def test_a_test_set_of_another_name_is_tied_by_the_key_alone(make_config: Any, tmp_path: Path) -> None:
    config = make_config({"sums": 16, "words": 40})
    exam = tmp_path / "exam.jsonl"
    exam.write_text(Path(config["datasets"][0]["path"]).read_text())
    config["test_datasets"] = [{**config["datasets"][0], "path": str(exam), "split": "train"}]
    loaded = load_data(config, tmp_path)
    assert (loaded.judging.sets, loaded.tied) == ({"exam": range(16)}, {})
    config["hbo"]["held_out"] = {"sums": "exam"}
    assert load_data(config, tmp_path).tied == {"sums": "exam"}
    config["hbo"]["held_out"] = {"suns": "exam"}
    with pytest.raises(
        ValueError,
        match=r"`hbo\.held_out` names the dataset `suns`, but the datasets are `sums`, `words`; did you mean `sums`\?",
    ):
        load_data(config, tmp_path)
    config["hbo"]["held_out"] = {"sums": "exams"}
    with pytest.raises(ValueError, match="did you mean `exam`"):
        load_data(config, tmp_path)


def test_datasets_hold_out_what_they_are_told(make_config: Any, tmp_path: Path) -> None:
    """A share or a number of rows by name; the others follow Axolotl's own key."""
    hbo = {"levels": 1, "val_set_size": {"sums": 7, "words": 0}}
    loaded = load_data(make_config(hbo=hbo, val_set_size=0.25), tmp_path)
    assert {name: len(rows) for name, rows in loaded.judging.sets.items()} == {"sums": 7, "tales": 4}
    assert loaded.cells.sizes.ravel().tolist() == [73, 40, 12]
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        load_data(make_config(hbo={"val_set_size": {"suns": 7}}), tmp_path)
    assert str(error.value) == (
        "`hbo.val_set_size` names the dataset `suns`, but the datasets are `sums`, `words`, `tales`; "
        "did you mean `sums`?"
    )


@pytest.mark.axolotl
def test_rows_that_axolotl_dropped_are_counted(make_config: Any, tmp_path: Path) -> None:
    loaded = load_data(make_config({"words": 40, "tales": 16}, sequence_len=40, hbo={"levels": 1}), tmp_path)
    kept = len(loaded.cells.dataset_rows(0))
    assert 0 < kept < 40
    assert loaded.raw_rows == {"words": 40, "tales": 16}
    assert f"dataset `words`: Axolotl dropped {40 - kept} of 40 rows" in loaded.notes[0]
    assert not any("`tales`" in note for note in loaded.notes)


@pytest.mark.axolotl
def test_all_that_is_wrong_with_the_data_is_said_before_a_model_scores_any(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hbo_plugin.data.difficulty import Scorer

    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("a model was run"))
    config = make_config(hbo={"levels": 2, "difficulty": "loss"})
    for number in (1, 2):
        path = tmp_path / f"wrong-{number}.jsonl"
        path.write_text('{"other": "column"}\n')
        config["datasets"][number]["path"] = str(path)
    with pytest.raises(ValueError, match=r"^dataset `wrong-1`") as error:
        load_data(config, tmp_path)
    assert [line for line in str(error.value).split("\n") if line.startswith("dataset `wrong-2`")]


def test_a_run_is_as_long_as_its_steps_say_or_else_its_epochs() -> None:
    pytest.importorskip("axolotl")
    from types import SimpleNamespace

    from hbo_plugin.data.load import RunData
    from hbo_plugin.signals.context import HeldOutRows

    lengths = np.full(10, 30, np.int32)
    data = RunData(range(10), Cells(("a",), np.array([[10]]), lengths, lengths, ("",)), HeldOutRows(), {})

    def steps(**keys: Any) -> int:
        return data.steps(SimpleNamespace(**{"batch_size": 4, "num_epochs": 3, "max_steps": None, **keys}))

    assert steps(sample_packing=False) == 8  # ceil(7.5)
    assert steps(sample_packing=True, sequence_len=50) == 5  # ceil(4.5)
    assert [steps(sample_packing=False, max_steps=most) for most in (5, 50)] == [5, 50]
