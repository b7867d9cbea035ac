"""A comparison and a search over runs that nobody trained, and their pages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from traces import evaluation, state, write

from hbo_plugin.compare import page as of_comparison
from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.outcome import Comparison, compared
from hbo_plugin.compare.runs import planned
from hbo_plugin.compare.statistics import paired
from hbo_plugin.report import html
from hbo_plugin.search import page as of_search
from hbo_plugin.search.find import Found, Round
from hbo_plugin.search.trials import Trial
from hbo_plugin.trace import COSTS_FILE, JsonLines

CONFIG: dict[str, Any] = {"base_model": "a/model", "max_steps": 10, "datasets": [{"path": "<b>.jsonl"}]}


def run(folder: Path, seconds: float, **losses: float) -> None:
    """A run of ten steps, evaluated at its start, in its middle and at its end."""
    even = {name: [1 / len(losses)] for name in losses}
    start, middle = (evaluation(step, None, **dict.fromkeys(losses, 4.0 - step / 5)) for step in (0, 5))
    end = evaluation(10, None, **losses)
    costs = JsonLines(write(folder, state(0, "start", even), start, middle, end, state(10, "end", even)) / COSTS_FILE)
    costs.append({"step": 10, "elapsed": seconds, "seconds": {"signals": 1.0}})


def comparison(out: Path, more: str) -> Comparison:
    """Of three arms, one with a control, at four seeds; one run has not ended. One held-out set has a name of yours."""
    for seed, base in enumerate((2.0, 2.5, 1.5, 2.2)):
        run(out / f"static.{seed}", 10.0, **{"sums": base, more: base})
        run(out / f"hbo.{seed}", 12.0, **{"sums": base - 0.2 - 0.001 * seed, more: base + 0.01 * seed})
        run(out / f"hbo-its-average.{seed}", 11.0, **{"sums": base - 0.2 - 0.002 * seed**2, more: base - 0.01 * seed})
        if seed:
            run(out / f"odm.{seed}", 11.0, **{"sums": base + 0.1 * (-1) ** seed, more: base + 0.1 * seed})
    return compared(planned(_arms(), range(4), out), "static")


def _arms() -> Any:
    return [arm for arm in find_arms({}, ["hbo", "odm"], {}, "static", controls=True) if arm.name != "odm, its average"]


def comparison_page(folder: Path, more: str) -> tuple[str, dict[str, Any]]:
    """The page and the JSON of that comparison."""
    found = comparison(folder, more)
    html.write(of_comparison.page(found, _arms(), CONFIG), folder / "report.html")
    return (folder / "report.html").read_text(), json.loads(json.dumps(asdict(found)))


def found_by_search(out: Path, more: str) -> Found:
    """Two trials at three seeds, one of which helps; a third failed."""
    helps, harms = ([-0.2, -0.21, -0.19], [0.1, 0.3, 0.2])
    trials = (
        Trial("rest to a", {"sums": paired(helps), more: paired(harms)}, 0.5, {"tales": paired(harms)}),
        Trial("rest to b", {"sums": paired(harms), more: paired(harms)}, -0.1, {"tales": paired(helps)}),
    )
    tried = Round(trials, ("rest-to-c.7",), {"sums": trials[0]})
    target = {"sums": 0.5, more: 0.5}
    return Found("static", target, 30, tried, comparison(out, more), "hbo", {"sums": 0.25, more: 0.75})


def search_page(folder: Path, more: str) -> tuple[str, dict[str, Any]]:
    """The page and the JSON of that search."""
    found = found_by_search(folder, more)
    html.write(of_search.page(found, CONFIG, {"target": ["sums"]}), folder / "report.html")
    return (folder / "report.html").read_text(), json.loads(json.dumps(asdict(found)))
