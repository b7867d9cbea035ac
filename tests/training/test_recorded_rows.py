"""Recorded rows: each is the row of the user's file that it says, recounted from outside; a kill and a resume keep them so."""

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from resume import assert_resumes
from runs import lines, load, train

from hbo_plugin import drawn_rows
from hbo_plugin.args import HBOConfig
from hbo_plugin.compat import load_tokenizer
from hbo_plugin.data import load as data
from hbo_plugin.report.rows import DrawnRow, contents
from hbo_plugin.trace import ROWS_FILE

pytestmark = pytest.mark.axolotl


def assert_rows_are_the_users(folder: Path, config: dict[str, Any]) -> list[DrawnRow]:
    """Whatever a recorded row was trained as stands in the row of the file that the reader names; returns all rows."""
    cfg = load(config, folder.parent)
    loaded = data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    tokenizer, tokens = load_tokenizer(cfg), loaded.train["input_ids"][:]
    files = {entry["path"]: lines(Path(entry["path"])) for entry in config["datasets"]}
    seen = [*drawn_rows(folder)]
    assert len(seen) == sum(len(record["rows"]) for record in lines(folder / ROWS_FILE)) > 30
    for row, read in zip(seen, contents(seen, "--text"), strict=True):
        raw = files[row.entry["path"]][row.raw_row - 1]
        assert row.dataset == Path(row.entry["path"]).stem
        cell = loaded.cells.names.index(row.dataset) * loaded.cells.levels + row.level
        assert row.row in loaded.cells.rows(cell)
        said = tokenizer.decode(tokens[row.row], skip_special_tokens=True)
        assert all(text in said or said in text for text in texts(raw)), (said, raw)
        assert read == raw
    for _, rows in groupby(seen, key=lambda row: row.step):
        places = [row.place for row in rows]
        assert places == [*range(1, 1 + len(places))]
    return seen


def texts(raw: dict[str, Any]) -> list[str]:
    """What a row says."""
    spoken = [message["content"] for message in raw.get("messages", [])]
    return spoken + [raw[key] for key in ("instruction", "output", "text") if key in raw]


@pytest.mark.parametrize("packed", [False, True])
def test_a_recorded_row_is_that_row_of_the_users_file(make_config: Any, tmp_path: Path, *, packed: bool) -> None:
    """Axolotl drops rows of one dataset and splits those of the other; levels are not cut in the order of the file."""
    config = make_config({"words": 40}, sequence_len=40, sample_packing=packed)
    config["hbo"] |= {"difficulty": "hardness", "easiest": "high", "method": "static", "prior": "uniform"}
    path = tmp_path / "sagas.jsonl"
    saga = [" ".join(f"In year {year} they had {i} stones." for year in range(i, i + 20)) for i in range(12)]
    path.write_text("".join(json.dumps({"text": text, "hardness": i % 5}) + "\n" for i, text in enumerate(saga)))
    config["datasets"].append({"path": str(path), "type": "completion", "field": "text"})
    folder = train(config)
    rows = assert_rows_are_the_users(folder, config)
    assert {row.dataset for row in rows} == {"words", "sagas"}
    of_sagas = {(row.row, row.raw_row) for row in rows if row.dataset == "sagas"}
    assert len(of_sagas) > len({raw_row for _, raw_row in of_sagas})


def test_a_run_that_dies_and_resumes_has_each_step_once(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It dies two steps after a checkpoint, in the middle of a line, and records nothing else than one that never died."""
    config = make_config(max_steps=8)
    died = Path(config["output_dir"]).parent / "died" / ROWS_FILE
    seen: list[int] = []

    def cut_short() -> None:
        seen.extend(row.step for row in drawn_rows(died.parent))
        died.write_bytes(died.read_bytes() + b'{"step": 7, "rows": [1, 2')
        assert [row.step for row in drawn_rows(died.parent)] == seen

    folder = assert_resumes(config, monkeypatch, crash_at=6, between=cut_short)
    assert sorted({*seen}) == [1, 2, 3, 4, 5, 6]
    assert [row.step for row in drawn_rows(folder)] == [step for step in range(1, 9) for _ in range(4)]


def test_row_weights_alone_record_no_rows(make_config: Any) -> None:
    """They know where rows come from, which is not to write down which were drawn."""
    config = make_config({"sums": 16}, hbo={"method": "static", "row_weights": {"column": "hardness"}}, max_steps=2)
    assert not (train(config) / ROWS_FILE).exists()
