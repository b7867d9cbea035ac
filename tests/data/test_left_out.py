"""A dataset whose weight is 0: its rows are not loaded, and its held-out rows stay what they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import load, read_trace, train

from hbo_plugin.args import HBOConfig

pytestmark = pytest.mark.axolotl
WEIGHTS = {"sums": 3, "words": 0, "tales": 1}


def load_data(config: dict[str, Any], folder: Path) -> Any:
    from hbo_plugin.data.load import load as load_all

    cfg = load(config, folder)
    return load_all(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def texts(part: Any, name: str) -> list[list[int]]:
    return [part.rows[index]["input_ids"] for index in part.sets[name]]


def test_its_rows_are_not_read(make_config: Any, tmp_path: Path) -> None:
    config = make_config(hbo={"weights": WEIGHTS})
    Path(config["datasets"][1]["path"]).write_text("no JSON\n")
    loaded = load_data(config, tmp_path)
    assert loaded.cells.names == ("sums", "tales")
    assert loaded.cells.sizes.tolist() == [[80], [16]]
    assert "`words` has the weight 0 and will not be trained on" in loaded.notes


def test_what_it_holds_out_stays(make_config: Any, tmp_path: Path) -> None:
    with_all, without = (
        load_data(make_config(hbo={"weights": {**WEIGHTS, "words": words}}, val_set_size=0.2), tmp_path)
        for words in (1, 0)
    )
    assert without.cells.names == ("sums", "tales")
    assert set(without.judging.sets) == {"sums", "words", "tales"}
    for name in without.judging.sets:
        assert texts(without.judging, name) == texts(with_all.judging, name)


def test_a_phase_without_a_dataset_is_not_a_run_without_it(make_config: Any, tmp_path: Path) -> None:
    phases = [{"until": 0.5, **WEIGHTS}, {**WEIGHTS, "words": 1}]
    loaded = load_data(make_config(hbo={"weights": phases}), tmp_path)
    assert loaded.cells.names == ("sums", "words", "tales")


def test_a_run_without_it(make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Levels and caps by name may still name it, and an adaptive method leaves it out by its prior."""
    hbo = {"prior": WEIGHTS, "update_every": 3, "levels": {"words": 2, "sums": 3}, "max_epochs": {"words": 2}}
    folder = train(make_config(hbo=hbo, val_set_size=0.2, eval_steps=6))
    last = read_trace(folder)[-1]
    assert set(last["rows_trained"]) == {"sums", "tales"}
    assert "`words` has the weight 0" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["weights", "prior"])
def test_names_are_checked_before_anything_is_tokenised(
    make_config: Any, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hbo_plugin import compat_rows

    monkeypatch.setattr(compat_rows, "load_entry", lambda *_: pytest.fail("tokenised"))
    for given, message in (
        (
            {**WEIGHTS, "wrds": 0},
            f"`hbo.{key}` names the dataset `wrds`, but the datasets are `sums`, `words`, `tales`",
        ),
        (
            {"sums": 1, "words": 2},
            f"`hbo.{key}` has no number for `tales`, but it needs one for each of `sums`, `words`,",
        ),
        (dict.fromkeys(WEIGHTS, 0), f"`hbo.{key}` is 0 for every dataset"),
    ):
        with pytest.raises(ValueError, match="hbo") as error:
            load_data(make_config(hbo={key: given}), tmp_path)
        assert str(error.value).startswith(message)
