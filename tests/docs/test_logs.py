"""docs/logs.md: it lists every scalar and every key that a run writes, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from runs import lines, train

from hbo_plugin.signals.table import SIGNALS

PAGE = (Path(__file__).parents[2] / "docs" / "logs.md").read_text()
DATASETS = ("sums", "words", "tales")


def listed(header: str) -> set[str]:
    """The first column of the page's table with this header."""
    (table,) = re.findall(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return set(re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE))


def pattern(scalar: str) -> str:
    """A scalar with the names of this run left out."""
    for name in DATASETS:
        scalar = re.sub(rf"(?<=[/_]){name}(?=[/_]|$)", "<dataset>", scalar)
    for name in SIGNALS:
        scalar = scalar.replace(f"signal/{name}/", "signal/<signal>/")
    return re.sub(r"/\d+$", "/<level>", scalar)


@pytest.mark.axolotl
def test_the_page_lists_what_a_run_writes(make_config: Any) -> None:
    weights = {
        "dwm": {"start": 1, "refresh_every": 1}
    }  # they differ from the second step on, and so have a correlation
    hbo = {"update_every": 2, "levels": 2, "log_levels": True, "record_rows": True, "row_weights": weights}
    folder = train(
        make_config(
            hbo=hbo,
            sample_packing=True,
            eval_sample_packing=False,
            pad_to_sequence_len=True,
            val_set_size=0.2,
            max_steps=4,
            eval_steps=4,
            save_steps=4,
        )
    )
    log = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text())["log_history"]
    logged = {pattern(key) for record in log for key in record if key.startswith(("hbo/", "eval_"))}
    axolotls = {key for key in logged if re.match("eval_(?!<dataset>_|target_)", key)}
    assert logged - axolotls == listed("scalar | unit | meaning")
    trace = [record for record in lines(folder / "hbo_trace.jsonl") if "step" in record]  # the first line is a version
    written = {key for record in trace for key in record}
    assert written | {"lost", "stopped"} == listed("key | in | unit | meaning")
    assert {key for record in lines(folder / "hbo_costs.jsonl") for key in record} == listed("key | meaning")
    rows = {key for record in lines(folder / "hbo_rows.jsonl") for key in record}
    assert rows == listed("key | unit | meaning")
