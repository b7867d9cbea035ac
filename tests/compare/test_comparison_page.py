"""The page of a comparison: its numbers are those of the JSON."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pages import HOSTILE, figures, tables
from studies import comparison_page

from hbo_plugin.compare.cli import compare
from hbo_plugin.compare.intervals import Intervals
from hbo_plugin.compare.statistics import paired
from hbo_plugin.report.bars import costs
from hbo_plugin.report.style import COLOURS, keys

pytest.importorskip("plotly")


@pytest.fixture
def written(tmp_path: Path) -> tuple[str, dict[str, Any]]:
    return comparison_page(tmp_path, HOSTILE)


def test_the_numbers_are_those_of_the_json(written: tuple[str, dict[str, Any]]) -> None:
    page, found = written
    shown = tables(page)
    assert [*shown["arms"]] == ["static", "hbo", "hbo, its average", "odm"]
    for arm in found["arms"]:
        difference = arm["difference"] or dict.fromkeys(("mean", "low", "high"), "-")
        assert shown["arms"][arm["arm"]] == {
            "seeds": arm["seeds"],
            "loss": arm["target"],
            "from static": difference["mean"],
            "from": difference["low"],
            "to": difference["high"],
            "p, after Holm": "-" if arm["p"] is None else arm["p"],
            "seconds": arm["seconds"],
            "time over the baseline's": arm["seconds"] / 10,
        }
        for name, each in arm["sets"].items():
            assert shown["sets"][name][arm["arm"]] == each["mean"]
    assert [*shown["sets"]] == sorted(["sums", HOSTILE])
    assert shown["config"]["base_model"] == {"value": "a/model"}


def test_the_figures_show_the_same(written: tuple[str, dict[str, Any]]) -> None:
    page, found = written
    drawn = figures(page)
    _, *arms = found["arms"]
    names = sorted(["sums", HOSTILE])
    for arm, trace in zip(arms, drawn["Differences"]["data"], strict=True):
        differences = [arm["difference"], *(arm["sets"][name] for name in names)]
        assert trace["name"] == arm["arm"]
        assert trace["x"] == [each["mean"] for each in differences]
        assert trace["error_x"]["array"] == [each["high"] - each["mean"] for each in differences]
        assert trace["error_x"]["arrayminus"] == [each["mean"] - each["low"] for each in differences]
    for arm, trace in zip(found["arms"], drawn["Held-out loss of the target"]["data"], strict=True):
        assert (trace["x"], trace["y"]) == ([0, 5, 10], [4.0, 3.0, arm["target"]])
    # An arm has one colour in all figures.
    assert [trace["marker"]["color"] for trace in drawn["Differences"]["data"]] == [*COLOURS[1:4]]
    assert [trace["line"]["color"] for trace in drawn["Held-out loss of the target"]["data"]] == [*COLOURS[:4]]
    assert drawn["Cost"]["data"][0]["x"] == [10.0, 12.0, 11.0, 11.0]


def test_it_says_in_words_what_the_terminal_says(written: tuple[str, dict[str, Any]]) -> None:
    page, _ = written
    assert "<li>hbo: better than static.</li>" in page
    assert "<li>odm: inconclusive." in page
    assert "Student&#39;s t over pairs of runs with one seed, of which an arm has 3 or 4;" in page
    assert "Not finished: <code>odm.0</code>." in page
    assert "Not all runs have ended." in page
    assert "<li>hbo: {method: hbo}</li>" in page
    assert "<b>" not in page.replace("a-long-name", "")[: page.index('id="plotly"')]


def test_names_of_arms_are_text_in_figures_too() -> None:
    drawn = Intervals(["the target"], {HOSTILE: [paired([0.1, 0.2])]}, f"from {HOSTILE}").drawn(keys([HOSTILE]))
    assert "<" not in drawn.figure.layout.xaxis.title.text
    assert "<" not in drawn.figure.data[0].name
    assert "<" not in costs({HOSTILE: 1.0}).figure.layout.yaxis.ticktext[0]


@pytest.mark.parametrize("option", ["--html", "--plot"])
def test_where_it_cannot_be_written_is_said_before_any_run(option: str, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text("hbo: {}")
    done = CliRunner().invoke(compare, [str(config), option, str(tmp_path / "none" / "page.svg")])
    assert done.exit_code == 1
    assert "but that file cannot be written" in done.output
