"""Real Axolotl runs with a tiny model: the weights move, nothing is lost, and measuring leaves no trace."""

import json
from typing import Any

import pytest
from conftest import history, lines, train

pytestmark = pytest.mark.axolotl


def test_the_mixture_moves_and_is_shown(make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(make_config())
    trace = lines(folder / "hbo_trace.jsonl")
    assert [(record["event"], record["step"]) for record in trace] == [
        ("start", 0),
        ("update", 3),
        ("update", 6),
        ("update", 9),
        ("end", 12),
    ]
    first, last = trace[0]["weights"], trace[-1]["weights"]
    assert sum(sum(levels) for levels in last.values()) == pytest.approx(1)
    assert any(abs(sum(last[name]) - sum(first[name])) > 1e-3 for name in first)
    assert sum(sum(cells) for cells in trace[-1]["samples"].values()) == 12 * 4
    weights = history(folder, "hbo/weight/sums")
    assert sorted(weights) == list(range(1, 13))
    assert weights[12] == pytest.approx(sum(last["sums"]))
    shown = capsys.readouterr().out
    assert "hbo: hbo, difficulty by length" in shown
    assert "the mixture after 12 steps, 48 rows" in shown
