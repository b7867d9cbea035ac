"""The page of a search: its numbers are those of the JSON."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from pages import HOSTILE, figures, tables
from studies import CONFIG, found_by_search, search_page

from hbo_plugin.report import html
from hbo_plugin.search.cli import search
from hbo_plugin.search.page import effects, page

pytest.importorskip("plotly")


def test_the_numbers_are_those_of_the_json(tmp_path: Path) -> None:
    text, found = search_page(tmp_path, HOSTILE)
    shown, drawn = tables(text), figures(text)
    trials = found["trials"]["trials"]
    for trial in trials:
        assert shown["trials"][trial["name"]] == {name: each["mean"] for name, each in trial["sets"].items()}
        assert shown["outside"]["tales"][trial["name"]] == trial["others"]["tales"]["mean"]
        assert shown["outside"]["all, mean"][trial["name"]] == trial["outside"]
    for name, trace in zip(found["target"], drawn["Effects of trials"]["data"], strict=True):
        assert trace["x"] == [trial["sets"][name]["mean"] for trial in trials]
    hbo = found["confirmed"]["arms"][1]
    assert shown["arms"]["hbo"]["p, after Holm"] == hbo["p"]
    assert "hbo is better than static." in text
    assert "<pre><code>hbo:\n  weights:\n    &#34;sums&#34;: 0.25\n" in text
    assert "Best for sums: rest to a." in text
    assert "Left out, as they failed or came to no number: <code>rest-to-c.7</code>." in text


def test_where_nothing_helps_there_is_nothing_to_paste(tmp_path: Path) -> None:
    found = replace(found_by_search(tmp_path, "words"), confirmed=None, chosen=None, prior=None)
    path = tmp_path / "report.html"
    html.write(page(found, CONFIG, {}), path)
    assert "No trial was better than static: stay with that." in path.read_text()
    assert "<pre>" not in path.read_text()
    assert "arms" not in tables(path.read_text())


def test_the_command_writes_all_that_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_by_search(tmp_path, "words")
    monkeypatch.setattr("hbo_plugin.search.find.find", lambda *_, **__: found)
    config = tmp_path / "config.yml"
    config.write_text("hbo: {target: [sums]}")
    paths = {option: tmp_path / f"found.{option}" for option in ("json", "svg", "html")}
    options = ["--json", paths["json"], "--plot", paths["svg"], "--html", paths["html"]]
    done = CliRunner().invoke(search, [str(config), *map(str, options)])
    assert (done.exit_code, done.output.count("hbo is better than static.")) == (0, 1)
    assert json.loads(paths["json"].read_text())["chosen"] == "hbo"
    assert tables(paths["html"].read_text())["config"]["hbo"] == {"value": "{target: [sums]}"}


def test_a_picture_has_every_trial(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    effects(found_by_search(tmp_path, "words")).plot(tmp_path / "found.svg")
    assert all(f"<!-- {name} -->" in (tmp_path / "found.svg").read_text() for name in ("rest to a", "rest to b"))
