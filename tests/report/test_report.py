"""The command `report`: its tables, its numbers, its picture, and what it refuses before any of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from traces import evaluation, run_of, state, weighed, write

from hbo_plugin.args import HBOConfig
from hbo_plugin.history import LOWEST
from hbo_plugin.report.cli import report
from hbo_plugin.trace import TRACE_FILE, Trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    *begun, end = run_of("sums", "words")
    return write(tmp_path / "out", *begun, evaluation(10, sums=1.5, words=float("nan")), end)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(each) for each in arguments])


def test_a_report_is_a_table(folder: Path) -> None:
    done = call(folder)
    assert done.exit_code == 0
    assert done.stdout.startswith("The mixture after 12 steps, 48 rows trained on")
    assert "50.0% → 50.0%" in done.stdout
    assert "50% 50% → 25% 75%" in done.stdout
    assert "1.500 → 1.500" in done.stdout
    assert "not ended" not in done.stdout


def test_json_goes_to_a_file_beside_the_table_or_to_stdout_alone(folder: Path, tmp_path: Path) -> None:
    plain = call(folder).stdout
    assert call(folder, "--json", tmp_path / "report.json").stdout == plain
    alone = call(folder, "--json", "-").stdout
    assert alone == (tmp_path / "report.json").read_text()
    numbers = json.loads(alone, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert {key: numbers[key] for key in ("step", "ended", "rows_trained", "tokens_trained")} == {
        "step": 12,
        "ended": True,
        "rows_trained": 48,
        "tokens_trained": 144,
    }
    assert numbers["datasets"][0] == {
        "name": "sums",
        "rows": 20,
        "weight": {"first": 0.5, "last": 0.5},
        "levels": [{"first": 0.5, "last": 0.25}, {"first": 0.5, "last": 0.75}],
        "row_share": 0.5,
        "token_share": 0.5,
        "epochs": 1.2,
        "capped": False,
        "held_out_loss": {"first": 1.5, "last": 1.5},
        "stopped": None,
        "overfits_since": None,
    }
    assert numbers["datasets"][1]["held_out_loss"] == {"first": None, "last": None}


def test_weights_are_a_block_that_the_next_run_accepts(tmp_path: Path) -> None:
    """Of 40 steps, those from 20 on: ten at 60% and ten at 80%, and none of the first 20."""
    names = ("sums", "x: #1", 'é\u200b"yes"', "no")
    shares = {0: 0.1, 10: 0.6, 30: 0.8, 40: 0.8}
    events = ("start", "update", "update", "end")
    write(
        tmp_path,
        *(
            state(
                step,
                event,
                {"sums": [share / 2, share / 2], **{name: [1e-6] for name in names[1:3]}, "no": [1 - share]},
            )
            for event, (step, share) in zip(events, shares.items(), strict=True)
        ),
    )
    for options, sums, what in (
        ([], 0.7, "# The mean of the weights over the last half of 40 steps.\n"),
        (["--last"], 0.8, "# The weights after step 40.\n"),
    ):
        done = call(tmp_path, "--weights", *options)
        assert done.stdout.startswith(what + "hbo:\n  unit: row\n  weights:\n")
        block = yaml.safe_load(done.stdout)["hbo"]
        assert block["weights"] == pytest.approx({"sums": sums, "no": 1 - sums, names[1]: 1e-6, names[2]: 1e-6})
        config = HBOConfig.model_validate(block)
        assert config.method == "static"
        config.check_names(names)
        weights = config.make_method(np.ones((4, 1), np.int64), names, seed=0, batch=1).weights()[:, 0]
        assert weights[0] == pytest.approx(sums, abs=1e-5)


def test_weights_of_a_run_that_has_just_begun_are_its_first(tmp_path: Path) -> None:
    assert yaml.safe_load(call(write(tmp_path, run_of("sums")[0]), "--weights").stdout)["hbo"]["weights"] == {"sums": 1}


def test_which_weights_are_printed_is_no_matter_without_any(folder: Path) -> None:
    done = call(folder, "--last")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: `--last` was given, but it says which weights `--weights` prints; give both, or neither.\n"
    )


def test_a_run_that_was_stopped_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    path = write(tmp_path, *run_of("sums")[:-1]) / TRACE_FILE
    path.write_bytes(path.read_bytes() + b'{"step": 11, "ev')
    done = call(tmp_path)
    assert done.exit_code == 0
    assert "The mixture after 10 steps" in done.stdout
    assert "This run has not ended" in done.stdout


@pytest.fixture
def weighing(tmp_path: Path) -> Path:
    """A run with row weights, of `sums` with 4 rows in a file and `words` that is read from the hub."""
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps({"text": f"{i} and {i}"}) + "\n" for i in range(4)))
    start, *others = run_of("sums", "words")
    start["entries"] = {"sums": {"path": str(path), "ds_type": "json"}, "words": {"path": "hub/words"}}
    told = weighed(5, mean=1.0, std=0.25, effective=0.9, with_loss=0.5, sums=1.125, words=0.875, lowest=[[0, 1, 1.0]])
    last = weighed(
        12,
        mean=1.0,
        std=0.5,
        effective=0.75,
        with_loss=-0.25,
        sums=0.5,
        words=None,
        lowest=[[13, 3, 0.2], [2, 1, 0.3125], [25, 7, 0.9]],
    )
    return write(tmp_path / "weighed", start, told, *others, last)


def test_a_report_has_what_row_weights_came_to(weighing: Path, folder: Path) -> None:
    shown = call(weighing).stdout
    section = [line.split() for line in shown[shown.index("Row weights,") :].splitlines()]
    assert ["sums", "1.125", "→", "0.500"] in section
    assert ["words", "0.875", "→", "nan"] in section
    told = (
        "Spread of single rows 0.250 → 0.500; effective share of the rows 90.0% → 75.0%; "
        "correlation with the loss +0.50 → -0.25."
    )
    assert told in " ".join(shown.split())
    assert "Row weights" not in call(folder).stdout


def test_json_has_what_row_weights_came_to(weighing: Path, folder: Path) -> None:
    assert json.loads(call(weighing, "--json", "-").stdout)["row_weights"] == {
        "std": {"first": 0.25, "last": 0.5},
        "effective": {"first": 0.9, "last": 0.75},
        "with_loss": {"first": 0.5, "last": -0.25},
        "datasets": {"sums": {"first": 1.125, "last": 0.5}, "words": {"first": 0.875, "last": None}},
    }
    assert json.loads(call(folder, "--json", "-").stdout)["row_weights"] is None


def test_row_weights_that_look_at_no_loss_have_no_correlation(tmp_path: Path) -> None:
    told = weighed(12, mean=1.0, std=0.5, effective=0.75, with_loss=None, sums=1.0, lowest=[])
    shown = call(write(tmp_path, *run_of("sums"), told)).stdout
    assert "Spread of single rows 0.500 → 0.500; effective share of the rows 75.0% → 75.0%." in " ".join(shown.split())
    assert "correlation" not in shown


def test_the_rows_of_the_lowest_weights_are_printed(weighing: Path, tmp_path: Path) -> None:
    """Of the last time that they were told, with what the user's file has there."""
    pytest.importorskip("datasets")
    path = tmp_path / "sums.jsonl"
    for count, expected in (
        (1, [("0.2", 1, 3)]),
        (2, [("0.2", 1, 3), ("0.312", 0, 1)]),
    ):
        done = call(weighing, "--lowest", count)
        assert (done.exit_code, done.stderr) == (0, "")
        parts = [
            f'Weight {weight}: sums, level {level}, row {row} of {path}{{"text": "{row - 1} and {row - 1}"}}'
            for weight, level, row in expected
        ]
        assert "".join(done.stdout.split()) == "".join("".join(parts).split())


def test_lowest_rows_that_cannot_be_shown_are_refused(weighing: Path, folder: Path) -> None:
    done = call(folder, "--lowest", 1)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: this run told of no row weights yet; a run with `hbo: {row_weights: ...}` does at each update: "
        "choose such a run.\n"
    )
    pytest.importorskip("datasets")
    done = call(weighing, "--lowest", 3)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the rows of dataset `words` cannot be shown, because `hub/words` is no file")


@pytest.mark.parametrize("count", [0, -1, LOWEST + 1, "all"])
def test_a_number_of_lowest_rows_that_was_not_told_is_refused(weighing: Path, count: object) -> None:
    done = call(weighing, f"--lowest={count}")
    assert (done.exit_code, done.stdout) == (2, "")
    reason = "'all' is not a valid integer range" if count == "all" else f"{count} is not in the range 1<=x<={LOWEST}"
    assert f"Invalid value for '--lowest': {reason}." in done.stderr


def test_a_folder_without_a_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / TRACE_FILE
    done = call(tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: `{path}` does not exist; a run with `hbo:` writes it from the start of its training: "
        "choose such a run.\n"
    )
    Trace(path).begin(0)
    assert "holds no step yet" in call(tmp_path).stderr
    path.write_text('{"step": 0}\n')
    assert f"Error: `{path}` begins with `" in call(tmp_path).stderr


def test_a_picture_shows_every_dataset(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = write(tmp_path / "out", *run_of("sums", "_words", "costs $1 or $2"))
    done = call(folder, "--plot", tmp_path / "mixture.svg", "--json", "-")
    assert json.loads(done.stdout)
    assert not done.stderr
    drawn = (tmp_path / "mixture.svg").read_text()
    assert "<!-- The mixture over 12 steps -->" in drawn
    assert "<!-- prior -->" in drawn
    for name in ("sums", "_words", "costs $1 or $2"):
        assert f"<!--  {name} -->" in drawn


@pytest.mark.filterwarnings("error")
def test_long_names_leave_room_for_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ["https://example.org/" + "a-long-path/" * 12, "with spaces " * 9 + "end", "x" * 5000, "$" * 99]
    folder = write(tmp_path / "out", *run_of(*names))
    assert call(folder, "--plot", tmp_path / "mixture.png").exit_code == 0


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_path_that_cannot_be_written_is_refused_first(
    option: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hbo_plugin.outputs.find_spec", lambda _: object())
    kept = tmp_path / "kept.png"
    kept.write_text("kept")
    (tmp_path / "folder.png").mkdir()
    for path, reason in (
        (tmp_path / "no" / "a.png", "No such file or directory"),
        (tmp_path / "folder.png", "Is a directory"),
        (kept / "a.png", "Not a directory"),
    ):
        done = call(folder, option, path)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr == (
            f"Error: `{option} {path}` was given, but that file cannot be written ({reason}): "
            "name one in a folder that exists and that you may write to.\n"
        )
    assert call(tmp_path, option, kept).stderr.startswith(f"Error: `{tmp_path / TRACE_FILE}` does not exist")
    assert kept.read_text() == "kept"
    assert call(tmp_path, option, tmp_path / "new.png").exit_code == 1
    assert not (tmp_path / "new.png").exists()


@pytest.mark.parametrize("name", ["mixture", "mixture.txt", "-"])
def test_an_unknown_kind_of_picture_is_refused(name: str, folder: Path) -> None:
    done = call(folder, "--plot", name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: `--plot {name}` was given, but a picture ends in .png, .jpg, .svg, .pdf: choose one of these.\n"
    )


def test_a_picture_without_matplotlib_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hbo_plugin.outputs.find_spec", lambda _: None)
    done = call(folder, "--plot", "mixture.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: `--plot mixture.png` was given, but matplotlib, which draws it, is not installed: "
        "run `pip install 'axolotl-hbo[plot]'`.\n"
    )
