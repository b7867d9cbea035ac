"""Case: row weights, tandem, scalebio and branches train on the card, measure something finite, and resume."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.gpu.runs import LORA, Measured, configured, numbers, train
from hbo_plugin.trace import ROWS_FILE

if TYPE_CHECKING:
    from benchmarks.gpu.case import Case

STEPS, SAVED = 8, 4
TARGET: dict[str, Any] = {"target": ["set0"], "val_set_size": {"set0": 16}, "prior": "uniform"}
SHARED: dict[str, Any] = {"update_every": 3, "levels": 2, "gradient_rows": 8, "forward_rows": 4, "record_rows": True}
BLOCKS: dict[str, dict[str, Any]] = {
    "row weights from a column": {"method": "static", "row_weights": {"column": "quality"}},
    "row weights that are learned": {
        "method": "static",
        "row_weights": {"dwm": {"refresh_every": 2, "start": 2}},
        **TARGET,
    },
    "tandem": {"method": "tandem", "copy_steps": 2, **TARGET},
    "scalebio": {"method": "scalebio", "twin_every": 1, **TARGET},
    "branches": {"method": "branches", "branch_at": 3, "branch_steps": 2, "branch_budget": 9, **TARGET},
}


def run(case: Case) -> None:
    """Each once without a stop, and once from a checkpoint on."""
    for name, block in BLOCKS.items():
        with case.attempt(name):
            _try(case, name, {**SHARED, **block})


def _try(case: Case, name: str, block: dict[str, Any]) -> None:
    folder = name.replace(" ", "-")
    keys: dict[str, Any] = {**LORA, "max_steps": STEPS, "save_strategy": "steps", "save_steps": SAVED}
    config = configured(case, folder, "smollm2", block, **keys)
    if "column" in block.get("row_weights", {}):
        _rate(config)
    whole = train(config)
    found = np.array(_measured(whole))
    case.expect(
        f"{name}: trains, and measures something finite",
        holds=bool(np.isfinite(found).any() and np.isfinite(whole.losses).all()),
        numbers=len(found),
        step_ms=float(np.median(whole.seconds)) * 1e3,
        peak_GB=whole.peak / 1e9,
    )
    config = configured(case, f"{folder}-resumed", "smollm2", block, **keys)
    # As it was when the run was at this step.
    checkpoint = case.folder / "runs" / f"{folder}-resumed" / f"checkpoint-{SAVED}"
    shutil.copytree(whole.folder / checkpoint.name, checkpoint)
    resumed = train({**config, "resume_from_checkpoint": str(checkpoint)})
    rows = [(run.folder / ROWS_FILE).read_text().splitlines()[SAVED - STEPS :] for run in (whole, resumed)]
    case.expect(f"{name}: a resumed run draws the same rows", holds=rows[0] == rows[1])


def _rate(config: dict[str, Any]) -> None:
    """Give each row of the data a number from 0 to 2."""
    rng = np.random.default_rng(0)
    for entry in config["datasets"]:
        table = pq.read_table(entry["path"])
        pq.write_table(table.append_column("quality", [rng.uniform(0, 2, len(table))]), entry["path"])


def _measured(run: Measured) -> list[float]:
    """Signals, and the mean weight of each cell's rows."""
    weighed = [numbers(record["cells"]) for record in run.trace() if record["event"] == "row_weights"]
    return run.signals() + [value for each in weighed for value in each]
