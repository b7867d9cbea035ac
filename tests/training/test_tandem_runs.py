"""Tandem inside real runs: resumed, at the edge of what can be measured, and without a trace in the training."""

from typing import Any

import numpy as np
import pytest
from resume import assert_resumes
from runs import history, load, read_trace, train

from hbo_plugin.setup import Setup

pytestmark = pytest.mark.axolotl

BLOCK = {
    "method": "tandem",
    "target": {"sums": 3, "words": 1},
    "update_every": 3,
    "levels": 2,
    "record_rows": True,
    "gradient_rows": 4,
    "forward_rows": 4,
    "copy_steps": 2,
}
PAIRS = {f"{dataset}/{held_out}" for dataset in ("sums", "words", "tales") for held_out in ("sums", "words")}


def test_a_killed_run_goes_on_as_if_nothing_had_happened(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = {"sums": 40, "words": 20, "tales": 0}
    folder = assert_resumes(make_config(hbo={**BLOCK, "val_set_size": hold}), monkeypatch, crash_at=8)
    updates = [record for record in read_trace(folder) if record["event"] == "update"]
    assert [record["step"] for record in updates] == [3, 6, 9]
    found = updates[0]["signals"]["transfer"]
    assert {f"{dataset}/{held_out}" for dataset, values in found.items() for held_out in values} == PAIRS
    assert any(isinstance(value, float) for values in found.values() for value in values.values())
    logged = history(folder, "hbo/signal/transfer_variance/sums/sums")
    assert all(np.isfinite(value) and value > 0 for value in logged.values())


def test_measuring_changes_no_loss(make_config: Any) -> None:
    """With an exponent of 0, tandem measures and stays at its prior."""
    hold = {"sums": 40, "words": 20, "tales": 0}
    shared = {"levels": 2, "prior": "uniform", "max_epochs": 9, "val_set_size": hold, "target": BLOCK["target"]}
    config = make_config(hbo={**BLOCK, **shared, "exponent": 0})
    output = config["output_dir"]
    measured = train({**config, "output_dir": f"{output}-measured"})
    config["hbo"] = {"method": "static", **shared}
    still = train({**config, "output_dir": f"{output}-still"})
    for key in ("loss", "grad_norm"):
        assert history(measured, key) == history(still, key)


def test_two_rows_that_steer_are_noted_and_harmless(make_config: Any, tmp_path: Any) -> None:
    hold = {"sums": 5, "words": 0, "tales": 0}
    config = make_config(hbo={**BLOCK, "target": ["sums"], "val_set_size": hold}, max_steps=4)
    notes = Setup(load(config, tmp_path)).data.notes
    assert (
        "held-out set `sums` steers with 2 rows; fewer than 8 say little, and the weights may stay at the prior"
    ) in notes
    assert [record["event"] for record in read_trace(train(config))][-1] == "end"
