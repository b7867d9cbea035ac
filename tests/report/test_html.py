"""The page of a run: its numbers are those of the trace, and it needs nothing but itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pages import HOSTILE, course, figures, tables, written
from traces import evaluation, run_of, state, write

from hbo_plugin.report.cli import report
from hbo_plugin.report.series import POINTS, TOP
from hbo_plugin.report.summary import overfits_since
from hbo_plugin.trace import TRACE_FILE, Trace

pytest.importorskip("plotly")
NAMES = ["sums", "words", HOSTILE]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(report, [str(each) for each in arguments])


def page_of(*folders: Path) -> str:
    path = folders[0].parent / "report.html"
    done = call(*folders, "--html", path)
    assert (done.exit_code, done.stderr) == (0, "")
    return path.read_text()


@pytest.fixture
def records() -> list[dict[str, Any]]:
    return course(NAMES, 12)


@pytest.fixture
def page(tmp_path: Path, records: list[dict[str, Any]]) -> str:
    return page_of(written(tmp_path / "out", records))


def test_the_numbers_are_those_of_the_trace(page: str, records: list[dict[str, Any]]) -> None:
    found, first, last = tables(page), records[0], records[-1]
    rows, tokens = (sum(map(sum, last[key].values())) for key in ("rows_trained", "tokens"))
    evaluations = [record for record in records if record["event"] == "evaluate"]
    for name in NAMES:
        assert found["datasets"][name] == {
            "rows": sum(last["rows"][name]),
            "prior": first["prior"][name],
            "first weight": sum(first["weights"][name]),
            "weight now": sum(last["weights"][name]),
            "row share": sum(last["rows_trained"][name]) / rows,
            "token share": sum(last["tokens"][name]) / tokens,
            "epochs": sum(last["rows_trained"][name]) / sum(last["rows"][name]),
            "cap": "-" if name == "sums" else 4,
            "capped": "yes" if name == "words" else "no",
            "training loss": evaluations[-1]["training_loss"][name],
            "first held-out loss": evaluations[0]["held_out"][name],
            "held-out loss": evaluations[-1]["held_out"][name],
            "overfits since": 60 if name == "words" else "",
        }
        shares = [of[name][0] / sum(of[name]) for of in (first["weights"], last["weights"])]
        assert [found["levels"][name][f"level 0, {when}"] for when in ("first", "now")] == shares
        update = [record for record in records if record["event"] == "update"][-1]
        assert found["signals"][name] == {
            "gradient norm": update["signals"]["gradient_norm"][name],
            "loss": update["signals"]["loss"][name][0],
            "branch effect": update["signals"]["branch_effect"][name]["tests"],
            "branch error": 0.02,
        }
        effect = {"value": update["signals"]["branch_effect"][name]["tests"], "standard error": 0.02, "at step": 120}
        assert found["effects"][name] == {"held-out set": "tests", "effect": "branch effect", **effect}
        assert found["row_weights"][name] == {"first": 1.125, "now": 1.125}
    assert found["capped"] == {"words": {"from step": 70, "to step": 120, "of its levels, at most": 1}}
    assert found["costs"]["loading"] == {"seconds": 1, "of the run": 1 / 12.5}
    assert found["costs"]["all of hbo"]["seconds"] == 1.75
    assert found["config"] == {"method": {"value": "hbo"}, "levels": {"value": "2"}}
    assert found["versions"] == {"hbo": {"version": "1"}}
    assert "Ended after 120 steps." in page


def test_the_points_of_figures_are_those_of_the_trace(page: str, records: list[dict[str, Any]]) -> None:
    states = [record for record in records if "weights" in record]
    evaluations = [record for record in records if record["event"] == "evaluate"]
    drawn = figures(page)
    areas = [trace for trace in drawn["Mixture"]["data"] if trace["type"] == "scatter"]
    for name, area in zip(NAMES, areas, strict=True):
        assert area["x"] == [each["step"] for each in states]
        assert area["y"] == [sum(each["weights"][name]) for each in states]
    *_, target = (trace for trace in drawn["Held-out loss"]["data"] if trace.get("name") == "target")
    assert target["y"] == [each["target"] for each in evaluations]
    ring = drawn["Held-out loss"]["data"][-1]
    assert (ring["x"], ring["y"]) == ([60], [evaluations[6]["held_out"]["words"]])
    assert drawn["Effects on tests"]["data"][0]["error_y"]["array"] == [0.02] * 12
    assert drawn["Packing"]["data"][0]["y"][-1] == records[-1]["efficiency"]
    assert set(drawn["Delay"]["data"][0]["y"]) == {8}


def test_names_are_text(page: str) -> None:
    assert "<script>alert" not in page
    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_many_datasets_and_updates_are_few_lines_and_points(tmp_path: Path) -> None:
    names = [f"set {number}" for number in range(60)]
    records = course(names, 300, levels=1)
    page = page_of(written(tmp_path / "out", records))
    areas = [trace for trace in figures(page)["Mixture"]["data"] if trace["type"] == "scatter"]
    assert [len(areas), len(areas[0]["x"])] == [TOP + 1, POINTS]
    assert [areas[0]["x"][end] for end in (0, -1)] == [0, 3000]
    assert [sum(area["y"][-1] for area in areas), areas[-1]["name"]] == [pytest.approx(1), "50 others"]
    assert "Of 302 points, figures show 200, evenly." in page
    assert [*tables(page)["datasets"]] == names
    assert 'placeholder="Search 60 rows"' in page


def test_a_page_is_small_and_loads_nothing(page: str) -> None:
    assert len(page) < 2_500_000
    shell = page[: page.index('id="plotly"')] + page[page.rindex("</script>") - 4000 :]
    assert "src=" not in shell
    assert "default-src 'none'" in shell
    assert "http" not in shell.replace("http-equiv", "").replace(HOSTILE, "")


@pytest.mark.parametrize("ended", [True, False])
def test_a_run_that_was_stopped_says_so(tmp_path: Path, *, ended: bool) -> None:
    page = page_of(written(tmp_path / "out", course(["sums"], 3, ended=ended)))
    assert ("Not ended: it still trains, or it was stopped. The trace reaches step 30 of 30." in page) is not ended


def test_traces_of_earlier_versions_have_a_page(tmp_path: Path) -> None:
    """They do not say how the run was configured, what it learned, or what it cost."""
    *begun, end = run_of("sums", "words")
    page = page_of(write(tmp_path / "out", *begun, evaluation(10, sums=1.5, words=float("nan")), end))
    assert "nothing can be said of overfitting" in page
    assert tables(page)["datasets"]["words"] == {
        "rows": 20,
        "prior": "-",
        "first weight": 0.5,
        "weight now": 0.5,
        "row share": 0.5,
        "token share": 0.5,
        "epochs": 1.2,
        "cap": "-",
        "capped": "no",
        "first held-out loss": "-",
        "held-out loss": "-",
        "overfits since": "",
    }


def test_several_runs_are_compared(tmp_path: Path) -> None:
    runs = {"a": course(["sums", "words"], 4), "b": course(["sums", "tales"], 6, levels=1, ended=False)}
    folders = [written(tmp_path / name, records) for name, records in runs.items()]
    page = page_of(*folders)
    found, (a, b) = tables(page), map(str, folders)
    assert found["weights"]["sums"] == {
        a: sum(runs["a"][-1]["weights"]["sums"]),
        b: sum(runs["b"][-3]["weights"]["sums"]),
    }
    assert found["weights"]["tales"][a] == "-"
    assert found["differences"] == {"levels": {a: "2", b: "1"}}
    assert [found["runs"][folder]["steps"] for folder in (a, b)] == [40, 60]
    assert [found["runs"][folder]["ended"] for folder in (a, b)] == ["yes", "no"]
    shown = call(*folders, "--json", tmp_path / "both.json").stdout
    assert shown.count("The mixture after") == 2
    assert "The runs together" in shown
    numbers = json.loads((tmp_path / "both.json").read_text())
    assert [run["output_dir"] for run in numbers["runs"]] == [a, b]
    assert [run["step"] for run in numbers["runs"]] == [40, 60]


@pytest.mark.parametrize("option", [["--weights"], ["--lowest", "1"], ["--plot", "mixture.png"]])
def test_what_shows_one_run_takes_one(option: list[str], tmp_path: Path) -> None:
    folder = written(tmp_path / "out", course(["sums"], 3))
    done = call(folder, folder, *option)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: `{option[0]}` was given with 2 runs, but it shows one: name one run.\n"


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_page_without_its_packages_is_refused(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hbo_plugin.outputs.find_spec", lambda name: None if name == package else object())
    done = call(write(tmp_path, *run_of("sums")), "--html", "report.html")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: `--html report.html` was given, but {package}, which draws it, is not installed: "
        "run `pip install 'axolotl-hbo[plot]'`.\n"
    )


@pytest.mark.parametrize(
    ("held_out", "training", "since"),
    [
        ([3, 2, 2.5, 2.6], [3, 2, 1.5, 1], 10),
        ([3, 2, 2.5, 2.01], [3, 2, 1.5, 1], None),  # a rise of less than 1%
        ([3, 2, 2.5, 1.9], [3, 2, 1.5, 1], None),
        ([3, 2.5, 2, 2.6], [3, 2, 1.5, 1], None),  # one evaluation says little
        ([3, 2, 2.5, 2.6], [3, 2, 2.1, 2.2], None),  # the training loss rises too: the model diverges
        ([3, 2, 2.5, float("nan")], [3, 2, 1.5, 1], None),
    ],
)
def test_a_dataset_overfits_since_its_lowest_loss(
    held_out: list[float], training: list[float], since: int | None, tmp_path: Path
) -> None:
    told = [
        {**evaluation(10 * index, sums=loss), "training_loss": {"sums": trained}}
        for index, (loss, trained) in enumerate(zip(held_out, training, strict=True))
    ]
    folder = write(tmp_path, state(0, "start", {"sums": [1.0]}), *told)
    assert overfits_since(Trace(folder / TRACE_FILE).history(), "sums") == since
    shown = " ".join(call(folder).stdout.split())
    assert ("Held-out loss has risen while training loss fell: `sums` since step 10." in shown) == (since is not None)
