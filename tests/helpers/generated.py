"""The tables of docs/ that follow from code or from committed measurements: `python tests/helpers/generated.py` writes them.

A table is found by its header, and everything below it is replaced.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))

from axolotl_configs.quickstart_search_data import HELPERS  # noqa: E402
from benchmarks.memory import WHAT  # noqa: E402 found through the line above
from benchmarks.mixtures import FAMILIES  # noqa: E402
from benchmarks.searches import TOLD  # noqa: E402
from benchmarks.targets import BASELINE, NAMES  # noqa: E402
from benchmarks.trials import STEPS  # noqa: E402
from hbo_plugin.args import HBOConfig  # noqa: E402
from hbo_plugin.bench.report import human  # noqa: E402
from hbo_plugin.features import FEATURES  # noqa: E402
from hbo_plugin.kinds import ASYNC, KINDS, REFUSED  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def keys() -> str:
    """Every key of the `hbo:` block."""
    rows = (
        (f"`{name}`", _yaml(field.get_default(call_default_factory=True)), field.description)
        for name, field in HBOConfig.model_fields.items()
    )
    return _table(("key", "default", "meaning"), rows)


def kinds() -> str:
    """What works in which kind of training."""
    known = [*KINDS.values()]
    rows = (
        (feature.told, *("refused" if name in kind.lacks else "yes" for kind in known))
        for name, feature in FEATURES.items()
    )
    return _table(("what you ask for", *(kind.told for kind in known)), rows)


def refused_kinds() -> str:
    """Which kinds of training are refused."""
    options = " or ".join(f"`trl.{key}`" for key in ASYNC)
    rows = (
        (f"`grpo` with {options}" if name == "async" else f"`{name}`", f"It {why}.") for name, why in REFUSED.items()
    )
    return _table(("`rl`", "why not"), rows)


def all_count() -> str:
    """What each arm came to where every dataset counts."""
    return _families(FAMILIES["all count"].baseline)


def few_count() -> str:
    """What each arm came to where two small datasets count."""
    return _families(FAMILIES["target with helpers"].baseline)


def _families(baseline: str) -> str:
    """The families with a baseline, a column each."""
    measured = _measured("families.json")["rows"]
    found = {
        name: {arm["arm"]: arm for arm in measured[name]["arms"]}
        for name, family in FAMILIES.items()
        if family.baseline == baseline and name in measured
    }
    arms = dict.fromkeys(arm for of_family in found.values() for arm in of_family)
    rows = ((arm, *(_judged(of_family.get(arm)) for of_family in found.values())) for arm in arms)
    return _table(("method", *found), rows)


def signals() -> str:
    """How well signals from training batches agree with those of probes."""
    models = {"small": "the small model", "demo": "the demo's model"}
    rows = (
        (f"`{row['signal']}`", models[row["model"]], _moments(row["correlation"]), _moments(row["ratio"]))
        for row in _measured("signals.json")["rows"]
    )
    return _table(("signal", "model", "correlation with the probes", "value over that of the probes"), rows)


def targets() -> str:
    """Loss of the target by each arm, from that of a static mixture with target first; of the longest runs each set too."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for row in _measured("targets.json")["rows"]:
        found.setdefault(row["arm"], {})[row["steps"]] = row
    lengths = sorted({steps for runs in found.values() for steps in runs})
    longest = lengths[-1]
    baseline = found[BASELINE][longest]
    rows = []
    for arm in NAMES:
        runs = found.get(arm, {})
        if last := runs.get(longest):
            apart = ({"difference": last["differences"][name], "error": last["errors"][name]} for name in HELPERS)
            cells = (_difference(each) if each else "" for each in (*(runs.get(steps) for steps in lengths), *apart))
            rows.append((arm, *cells, _times(last["seconds"] / baseline["seconds"])))
    columns = (*(f"{steps} steps" for steps in lengths), *(f"`{name}`, {longest} steps" for name in HELPERS))
    return _table(("arm", *columns, "processor time"), rows)


def trials() -> str:
    """How far short trials rank datasets as whole runs do."""
    rows = (
        (
            f"{STEPS // row['part']}",
            f"{row['helper_first']} of {row['readings']}",
            f"{row['as_whole']} of {row['readings']}",
            f"{row['helper']:+.3f}",
            f"{row['lowest_other']:+.3f}",
            f"{row['clearly']} of {row['others']}",
            f"{row['order']:.2f}",
            f"{row['given_up']} of {row['trials']}, {row['helpers_given_up']} of helpers",
        )
        for row in _measured("trials.json")["rows"]
    )
    columns = (
        *("steps", "own helper first", "first as in the whole run", "own helper's difference", "lowest other"),
        *("others below -0.05", "rank correlation with whole runs", "given up at half"),
    )
    return _table(columns, rows)


def searched() -> str:
    """What a search nominated by short trials."""
    found = _measured("search.json")
    rows = (
        (
            trial["name"] + (", at half" if trial["given_up"] else ""),
            *(f"{trial['sets'][name]['mean']:+.3f}" for name in found["target"]),
        )
        for trial in found["trials"]["trials"]
    )
    return _table(("trial", *(f"`{name}`" for name in found["target"])), rows)


def confirmed() -> str:
    """What full runs of what it nominated came to."""
    found = _measured("search.json")

    def interval(difference: Mapping[str, float] | None) -> str:
        return "{mean:+.3f} ({low:+.3f} to {high:+.3f})".format_map(difference) if difference else ""

    rows = (
        (
            arm["arm"],
            f"{arm['target']:.3f}",
            interval(arm["difference"]),
            *(interval(arm["sets"].get(name)) for name in found["target"]),
            arm["verdict"] or "",
        )
        for arm in found["confirmed"]["arms"]
    )
    alone = (f"`{name}` alone" for name in found["target"])
    return _table(("mixture", "loss", f"from {found['baseline']}", *alone, "verdict"), rows)


def rollouts() -> str:
    """What moving levels came to under GRPO."""
    rows = (
        (
            row["arm"],
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
            _difference(row),
            f"{row['better']} of {row['seeds']}",
            f"{row['no_variance']:.1%}",
        )
        for row in _measured("rollouts.json")["rows"]
    )
    columns = ("pass rate before", "after", "from static", "higher in", "prompts without variance")
    return _table(("levels and datasets", *columns), rows)


def named() -> str:
    """What searches of a small model named, and whether that was better on further seeds too."""
    found = [
        row
        for name in ("searches-helpers.json", "searches.json", "searches-noise.json")
        for row in _measured(name)["rows"]
    ]
    rows = (
        (
            row["family"],
            f"{row['searches']}",
            *(f"{row['named'].get(told, 0)}" for told in TOLD),
            f"{sum(each['verdict'] == 'better' for each in row['again'])} of {len(row['again'])}",
            f"{row['named_by_comparison']}",
        )
        for row in found
    )
    return _table(("family", "searches", *TOLD, "better again", "better by a comparison"), rows)


def starting() -> str:
    """How soon a run starts."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for row in _measured("start.json")["rows"]:
        cases.setdefault(row["case"], []).append(row)
    rows = (
        (case, f"{off['cpu']:.1f} s", f"{on['cpu']:.1f} s", _times(on["cpu"] / off["cpu"]))
        for case, (off, on) in cases.items()
    )
    return _table(("rows", "Axolotl alone", "hbo", "hbo over Axolotl"), rows)


def draws() -> str:
    """How fast each sampler draws from ten million rows."""
    case = "draws, batch 256, new weights every 1,024, 10,000,000 rows"
    found = [row for row in _measured("sampler.json")["rows"] if row["case"] == case]
    ours = next(row["value"] for row in found if row["name"] == "hbo")
    rows = []
    for row in sorted(found, key=lambda row: row["value"] or 0, reverse=True):
        if row["value"] is None:
            rows.append((row["name"], "none: a call takes more than 1 s", "", ""))
            continue
        slowest, fastest = (f"{value / 1e6:.3g}" for value in row["spread"])
        faster = "" if row["ours"] else _times(ours / row["value"])
        rows.append((row["name"], f"{row['value'] / 1e6:.3g}", f"{slowest} to {fastest}", faster))
    return _table(("sampler", "million draws a second", "slowest to fastest run", "hbo is faster by"), rows)


def packing() -> str:
    """How full bins are, and how fast they are filled."""
    found = _by_case(_measured("packing-quick.json")["rows"])
    rows = []
    for case in found:
        kind, _, rest = case.partition(", ")
        if kind == "efficiency":
            ours, theirs = found[case]["hbo"], found[case]["Axolotl's multipack"]
            speeds = found[f"speed, {rest}"]
            faster = _times(speeds["hbo"] / speeds["Axolotl's multipack"])
            rows.append((rest, f"{ours:.1%}", f"{theirs:.1%}", faster))
    return _table(("rows", "hbo", "multipack", "hbo is faster by"), rows)


def scale_steps() -> str:
    """What a step takes, by the size of the run."""
    found = _by_size("a step of one rank: draw, share out and count")
    names = ("rows", "packed batches", "RowSampler", "PackedBatchSampler")
    rows = ((*map(_count, size), *(_human(of.get(name)) for name in names)) for size, of in found.items())
    return _table(("ranks", "rows", "cells", "hbo", "hbo, packed", "`RowSampler`", "`PackedBatchSampler`"), rows)


def scale_changes() -> str:
    """What a change of weights and a checkpoint take, by cells."""
    columns = {
        "the last hundredth": "a change",
        "hbo_state.json": "state",
        "hbo_tensors.safetensors": "tensors",
        "to write": "to write",
        "to read": "to read",
        "sums of a step that `reuse` looks at": "added up in a step",
        "a line of scalars": "a line of the log",
        "an update in the trace": "a line of the trace",
    }
    found: dict[int, dict[str, Any]] = {}
    for row in _measured("scale.json")["rows"]:
        if row["name"] in columns:
            found.setdefault(row["cells"], {})[row["name"]] = row
    rows = ((_count(cells), *(_human(of[name]) for name in columns)) for cells, of in found.items())
    return _table(("cells", *columns.values()), rows)


def scale_resumes() -> str:
    """What a resume in the middle of an epoch takes."""
    found = _by_size("a resume, up to the first batch")
    rows = (
        (_count(size[1]), _human(of["rows"]), _count(int(of["rows"]["note"].split()[0].replace(",", ""))))
        for size, of in found.items()
    )
    return _table(("rows", "time", "rows thrown away"), rows)


def scale_planners() -> str:
    """What samplers that plan an epoch need for its first row."""
    question = "the first row under new weights"
    times, memory = _by_size(question), _by_size(f"{question}: memory")
    rows = (
        (_count(size[1]), name, _human(row), _human(memory[size].get(name)) if row["value"] else "")
        for size, of in times.items()
        for name, row in of.items()
    )
    return _table(("rows", "sampler", "time", "memory"), rows)


def scale_refused() -> str:
    """What is asked that is too large."""
    rows = ((each["asked"], "`` {message} ``".format_map(each)) for each in _measured("scale.json")["refused"])
    return _table(("asked", "message"), rows)


def overhead() -> str:
    """What hbo adds to a training step."""
    names = {"tiny": "two layers, 64 rows a step", "smollm2": "SmolLM2-135M, 4 rows a step"}
    sources = {
        "reuse": "the training batches",
        "probe": "extra passes",
        "row weights, column": "none, with row weights from a column",
        "row weights, dwm": "none, with `row_weights: dwm`",
    }
    rows = []
    for case, ratio in _measured("training-quick.json")["headline"].items():
        model, source = case.split("/")
        if source != "axolotl":  # which is no share of one step, see the page
            rows.append((names[model], sources[source], f"{ratio - 1:.1%}"))
    return _table(("model", "signals from", "added time"), rows)


def memory() -> str:
    """The highest memory of each way to look at a model."""
    found = _measured("memory.json")
    return _table(("what is done", "bytes a logit"), ((what, f"{found[name]:.2f}") for name, what in WHAT.items()))


TABLES: Mapping[str, tuple[Callable[[], str], ...]] = {
    "keys.md": (keys,),
    "kinds.md": (kinds, refused_kinds),
    "evidence.md": (all_count, few_count, targets, trials, searched, confirmed, named, rollouts, signals),
    "scale.md": (scale_steps, scale_changes, scale_resumes, scale_planners, scale_refused),
    "speed.md": (draws, packing, overhead, memory, starting),
}
"""The tables of each page."""


def rendered(page: str) -> str:
    """A page with its tables as they should be."""
    text = (DOCS / page).read_text()
    for make in TABLES[page]:
        table = make()
        header = table.split("\n", 1)[0]
        before, found, rest = text.partition(f"{header}\n")
        if not found:
            msg = f"`{page}` has no table with the header `{header}`; add that line."
            raise ValueError(msg)
        lines = rest.splitlines(keepends=True)
        below = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
        text = f"{before}{table}\n{''.join(lines[below:])}"
    return text


def _table(header: tuple[str, ...], rows: Iterable[tuple[str | None, ...]]) -> str:
    rule = "|".join(["---"] * len(header))
    lines = [" | ".join(cell or "" for cell in row) for row in (header, *rows)]
    head, *body = (f"| {line} |" for line in lines)
    return "\n".join([head, f"|{rule}|", *body])


def _measured(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "benchmarks" / name).read_text())
    return found


def _by_case(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["case"], {})[row["name"]] = row["value"]
    return found


def _by_size(question: str) -> dict[tuple[int, int, int], dict[str, dict[str, Any]]]:
    """The rows of a question of `bench scale` by name, by ranks, rows and cells."""
    found: dict[tuple[int, int, int], dict[str, dict[str, Any]]] = {}
    for row in _measured("scale.json")["rows"]:
        if row["question"] == question:
            found.setdefault((row["ranks"], row["rows"], row["cells"]), {})[row["name"]] = row
    return found


def _count(number: int) -> str:
    """Short where it is a round number of many digits."""
    digits = len(str(number)) - 1
    return f"1e{digits}" if digits > 4 and number == 10**digits else f"{number:,}"


def _human(row: dict[str, Any] | None) -> str:
    """A value of `bench scale`, or why there is none."""
    if row is None:
        return ""
    return human(row["value"], row["unit"]) if row["value"] is not None else row["note"].partition(":")[2].strip()


def _difference(row: dict[str, Any]) -> str:
    """Empty is the error of one seed, and 0 the baseline's difference from itself."""
    if not row["difference"]:
        return "0"
    return f"{row['difference']:+.3f}" + ("" if row["error"] is None else f" ± {row['error']:.3f}")


def _judged(arm: dict[str, Any] | None) -> str:
    """An arm's difference and half of its interval, in bold where it has a verdict; 0 the baseline's from itself."""
    if arm is None:
        return ""
    if (difference := arm["difference"]) is None:
        return "0"
    told = f"{difference['mean']:+.3f} ± {(difference['high'] - difference['low']) / 2:.3f}"
    return told if arm["verdict"] == "inconclusive" else f"**{told}**"


def _moments(values: Iterable[float | None]) -> str:
    return ", ".join("?" if value is None else f"{value:.2f}" for value in values)


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} times" if ratio >= 100 else f"{ratio:.1f} times"


def _yaml(value: object) -> str:
    """A default as YAML has it; nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isinf(value):
        return "`.inf`"
    return f"`{json.dumps(value) if isinstance(value, bool | int | float) else value}`"


if __name__ == "__main__":
    for page in TABLES:
        (DOCS / page).write_text(rendered(page))
