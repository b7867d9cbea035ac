"""The command `rows` and the function `drawn_rows`: where each recorded row is, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from traces import record, state, write

from hbo_plugin import drawn_rows
from hbo_plugin.report.cli import rows
from hbo_plugin.report.rows import DrawnRow
from hbo_plugin.trace import ROWS_FILE, TRACE_FILE

SUMS = [{"text": f"{i} and {i}"} for i in range(25)]


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, dict[str, Any]]:
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in SUMS))
    return {"sums": {"path": str(path), "ds_type": "json"}, "words": {"path": "hub/words", "split": "train"}}


@pytest.fixture
def folder(tmp_path: Path, entries: dict[str, dict[str, Any]]) -> Path:
    """A run of three steps on a dataset of two levels and one of a single level; of 10 rows each."""
    start = state(0, "start", {"sums": [0.25, 0.25], "words": [0.5, 0.0]})
    start["rows"]["words"] = [10, 0]
    folder = write(tmp_path / "out", {**start, "entries": entries})
    return record(folder, {1: [(0, 7), (20, 1)], 2: [(9, 25), (10, 3), (29, 0)], 3: [(19, 1), (19, 1)]})


def call(*arguments: object) -> Result:
    return CliRunner().invoke(rows, [str(each) for each in arguments])


def test_each_row_has_its_dataset_level_and_place(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    sums, words = entries["sums"], entries["words"]
    assert [*drawn_rows(folder)] == [
        DrawnRow(1, 1, "sums", 0, 0, 7, sums),
        DrawnRow(1, 2, "words", 0, 20, 1, words),
        DrawnRow(2, 1, "sums", 0, 9, 25, sums),
        DrawnRow(2, 2, "sums", 1, 10, 3, sums),
        DrawnRow(2, 3, "words", 0, 29, 0, words),
        DrawnRow(3, 1, "sums", 1, 19, 1, sums),
        DrawnRow(3, 2, "sums", 1, 19, 1, sums),
    ]
    assert [row.step for row in drawn_rows(str(folder), range(2, 9))] == [2, 2, 2, 3, 3]
    assert [row.step for row in drawn_rows(folder, {1, 3})] == [1, 1, 3, 3]


def test_a_line_that_a_kill_cut_short_is_left_out(folder: Path) -> None:
    path = folder / ROWS_FILE
    whole = [*drawn_rows(folder)]
    path.write_bytes(path.read_bytes() + b'{"step": 4, "rows": [1')
    assert [*drawn_rows(folder)] == whole


def test_the_last_step_is_a_table(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    done = call(folder)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["sums", "3", "1", "1", "19", "1"] in lines
    assert ["sums", "3", "2", "1", "19", "1"] in lines
    assert "".join(done.stdout.split()).endswith(f"sums:{entries['sums']['path']}")
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_steps_and_a_dataset_can_be_chosen(folder: Path) -> None:
    for chosen, expected in ((["--step", 2], {"2"}), (["--step", "1-2"], {"1", "2"}), (["--step", "2-99"], {"2", "3"})):
        numbers = json.loads(call(folder, *chosen, "--json", "-").stdout)["rows"]
        assert {str(row["step"]) for row in numbers} == expected
    (row,) = json.loads(call(folder, "--step", "1-3", "--dataset", "words", "--json", "-").stdout)["rows"][1:]
    assert row == {
        "step": 2,
        "place": 3,
        "dataset": "words",
        "level": 0,
        "row": 29,
        "raw_row": 0,
        "entry": {"path": "hub/words", "split": "train"},
    }
    assert json.loads(call(folder, "--dataset", "words", "--json", "-").stdout) == {"rows": []}


def test_the_text_of_a_row_is_that_of_the_users_file(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    done = call(folder, "--step", 2, "--dataset", "sums", "--text", "--json", tmp_path / "rows.json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [row["content"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == [SUMS[24], SUMS[2]]
    shown = "".join(done.stdout.split())
    assert "Step2,place1:sums,level0,row25of" in shown
    assert '{"text":"24and24"}' in shown
    assert '{"text":"2and2"}' in shown


@pytest.mark.parametrize(("name", "content"), [("a.csv", "text\nx\ny\n"), ("a.txt", "x\ny\n"), ("a.parquet", None)])
def test_a_file_is_read_as_axolotl_reads_it(folder: Path, tmp_path: Path, name: str, content: str | None) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / name
    if content is None:
        datasets.Dataset.from_dict({"text": ["x", "y"]}).to_parquet(path)
    else:
        path.write_text(content)
    write(folder, {**state(0, "start", {"sums": [1.0]}), "entries": {"sums": {"path": str(path)}}})
    record(folder, {1: [(0, 2)]})
    assert json.loads(call(folder, "--text", "--json", "-").stdout)["rows"][0]["content"] == {"text": "y"}


def test_a_split_counts_from_its_own_first_row(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    pytest.importorskip("datasets")
    sums = {**entries["sums"], "split": "train[5:]"}
    write(folder, {**state(0, "start", {"sums": [1.0]}), "entries": {"sums": sums}})
    record(folder, {1: [(0, 2)]})
    assert json.loads(call(folder, "--text", "--json", "-").stdout)["rows"][0]["content"] == SUMS[6]


@pytest.mark.parametrize("step", ["0x1", "3-1", "1-2-3", "last", "-1", "1,2", "", "1-" + "9" * 30])
def test_what_is_no_step_is_refused(folder: Path, step: str) -> None:
    done = call(folder, f"--step={step}")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: `--step {step}` was given, but a step is a number, and several are written as in 100-120: change it.\n"
    )


def test_what_was_not_recorded_is_refused(folder: Path) -> None:
    for step in ("0", "4", "4-9"):
        done = call(folder, "--step", step)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            f"Error: `--step {step}` was given, but `{folder / ROWS_FILE}` has 3 steps, from 1 to 3: "
            "choose some of these.\n"
        )
    assert call(folder, "--dataset", "sum").stderr == (
        "Error: `--dataset sum` was given, but the datasets are `sums`, `words`: choose one of these.\n"
    )


def test_a_run_that_recorded_nothing_is_refused(folder: Path) -> None:
    path = folder / ROWS_FILE
    path.write_bytes(b"")
    assert call(folder).stderr == (f"Error: `{path}` holds no step yet: wait for the first, or choose another run.\n")
    path.unlink()
    for arguments in ([], ["--step", 1]):
        assert call(folder, *arguments).stderr == (
            f"Error: `{path}` does not exist; a run with `hbo: {{record_rows: true}}` writes it: choose such a run.\n"
        )
    (folder / TRACE_FILE).unlink()
    assert "hbo_trace.jsonl` does not exist" in call(folder).stderr


def test_files_that_lack_something_are_refused(folder: Path) -> None:
    path = folder / ROWS_FILE
    path.write_text('{"step": 1, "rows": [1]}\n')
    assert call(folder).stderr == (
        f"Error: `{path}` has a line without `raw_rows`: restore the file, or move it away.\n"
    )
    write(folder, state(0, "start", {"sums": [0.5, 0.5]}))
    assert call(folder).stderr == (f"Error: `{TRACE_FILE}` does not say where `sums` is read from: restore the file.\n")


def test_a_row_that_axolotl_made_up_has_no_text(folder: Path) -> None:
    pytest.importorskip("datasets")
    record(folder, {1: [(0, 0), (1, 1)]})
    done = call(folder, "--text", "--json", "-")
    assert [row["content"] for row in json.loads(done.stdout)["rows"]] == [None, SUMS[0]]


def test_a_text_that_is_not_here_is_refused(
    folder: Path, entries: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(folder, "--step", 1, "--text").stderr == (
        "Error: the rows of dataset `words` cannot be shown, because `hub/words` is no file here: "
        "call this in the folder that the run was started in, or leave `--text` out.\n"
    )
    monkeypatch.setattr("hbo_plugin.report.rows.find_spec", lambda _: None)
    assert call(folder, "--text").stderr == (
        "Error: `--text` was given, but `datasets`, which reads the rows, is not installed: "
        "run `pip install datasets`.\n"
    )
    monkeypatch.undo()
    pytest.importorskip("datasets")
    path = Path(entries["sums"]["path"])
    path.write_text('{"text": ')
    damaged = call(folder, "--text").stderr
    assert damaged.startswith(f"Error: `{path}` cannot be read as json (")
    assert damaged.endswith("): restore the file, or leave `--text` out.\n")
    path.write_text('{"text": "one"}\n' * 4)
    assert call(folder, "--step", 2, "--dataset", "sums", "--text").stderr == (
        f"Error: `{path}` has 4 rows, but the run trained on its row 25: restore the file, or leave `--text` out.\n"
    )
