"""What a report shows of the effects of datasets on the target: their values and errors, over the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from traces import run_of, write

from hbo_plugin.report.cli import report

if TYPE_CHECKING:
    from pathlib import Path


def update(step: int, value: float, **errors: float | None) -> dict[str, Any]:
    """An update that measured an effect of `words` on the set `exam`; `sums` counts, and has none."""
    _, record, _ = run_of("sums", "words")
    (name, error) = next(iter(errors.items()))
    effect = {"branch_error": "branch_effect", "transfer_variance": "transfer"}[name]
    signals = {effect: {"sums": {"exam": None}, "words": {"exam": value}}}
    return record | {"step": step, "signals": {**signals, name: {"sums": {"exam": None}, "words": {"exam": error}}}}


@pytest.mark.parametrize(("errors", "shown"), [({"branch_error": 0.01}, "0.010"), ({"transfer_variance": 4}, "2.000")])
def test_effects_are_shown_with_their_errors(tmp_path: Path, errors: dict[str, float], shown: str) -> None:
    begun, _, end = run_of("sums", "words")
    folder = write(tmp_path, begun, update(4, -0.25, **errors), update(8, 0.5, **errors), end)
    done = CliRunner().invoke(report, [str(folder), "--json", str(tmp_path / "numbers.json")])
    assert done.exit_code == 0
    line = next(line for line in done.stdout.splitlines() if "exam" in line)
    assert line.split() == ["words", "exam", "8", "+0.500", "±", shown, "-0.250", "±", shown]
    first, last = json.loads((tmp_path / "numbers.json").read_text())["effects"]
    assert (first["step"], first["value"], first["dataset"], first["held_out"]) == (4, -0.25, "words", "exam")
    assert (last["step"], last["value"], f"{last['error']:.3f}") == (8, 0.5, shown)


def test_the_picture_has_a_part_for_each_held_out_set(tmp_path: Path) -> None:
    begun, plain, end = run_of("sums", "words")
    heights = []
    for name, record in (("plain", plain), ("measured", update(10, 0.5, branch_error=0.1))):
        folder = write(tmp_path / name, begun, record, end)
        done = CliRunner().invoke(report, [str(folder), "--plot", str(tmp_path / f"{name}.svg")])
        assert done.exit_code == 0
        heights.append((tmp_path / f"{name}.svg").read_text().count("<!-- branch_effect on -->"))
    assert heights == [0, 1]


def test_an_effect_without_an_error_is_shown(tmp_path: Path) -> None:
    begun, _, end = run_of("sums", "words")
    folder = write(tmp_path, begun, update(4, 0.25, transfer_variance=None), end)
    arguments = [str(folder), "--plot", str(tmp_path / "picture.svg")]
    done = CliRunner().invoke(report, arguments)
    assert done.exit_code == 0
    assert "+0.250" in done.stdout
    assert "±" not in done.stdout
