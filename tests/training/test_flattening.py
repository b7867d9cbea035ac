"""`batch_flattening`: a batch of rows in one line, without padding, tells what the padded batch tells."""

from pathlib import Path
from typing import Any

import pytest
from runs import STILL, assert_traces_agree, history, lines, train

pytestmark = pytest.mark.axolotl


@pytest.mark.parametrize("rows", [1, 2])
def test_signals_and_losses_are_those_of_the_padded_batch(make_config: Any, tmp_path: Path, rows: int) -> None:
    """Also in evaluations, whose last batch is not full."""
    hbo = {"update_every": 2, "levels": 2, "record_rows": True}
    settings = {"hbo": hbo, "learning_rate": STILL, "max_steps": 6, "val_set_size": 7, "eval_steps": 3}
    padded, flat = (
        train(
            make_config(
                micro_batch_size=rows,
                output_dir=str(tmp_path / plugins[-1]),
                plugins=["hbo_plugin.HBOPlugin", *plugins],
                **settings,
            )
        )
        for plugins in (["witness.WitnessPlugin"], ["witness.WitnessPlugin", "flattening.FlatteningPlugin"])
    )
    assert lines(flat / "hbo_rows.jsonl") == lines(padded / "hbo_rows.jsonl")
    lengths = [[len(sequences) for sequences in record["batches"]] for record in lines(flat / "witness_0.jsonl")]
    assert lengths == [[1, 1]] * 6  # one line a batch
    assert_traces_agree(flat, padded)
    assert history(flat, "loss") == pytest.approx(history(padded, "loss"), rel=1e-3)  # it is logged with few digits
