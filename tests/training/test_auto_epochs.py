"""`max_epochs: auto` in whole runs: a dataset is drawn until its own held-out loss rises, and only then stopped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from resume import assert_resumes
from runs import lines, load, read_trace, train

from hbo_plugin.training import overfitting

if TYPE_CHECKING:
    from pathlib import Path


def learnt_by_heart(make_config: Any, folder: Path, **hbo: Any) -> dict[str, Any]:
    """A run that looks every second step at 24 rows of random digits, while it learns 12 others by heart."""
    digits = np.random.default_rng(3).integers(0, 10, (60, 12))
    path = folder / "digits.jsonl"
    path.write_text("".join(json.dumps({"text": "".join(map(str, row))}) + "\n" for row in digits))
    config: dict[str, Any] = make_config(
        sizes={"sums": 80},
        hbo={
            "method": "static",
            "prior": "uniform",
            "levels": 2,
            "update_every": 2,
            "record_rows": True,
            "max_epochs": {"digits": "auto", "sums": None},
            "val_set_size": {"digits": 48},
            **hbo,
        },
        max_steps=120,
        learning_rate=0.03,
        lr_scheduler="constant",
        save_steps=20,
    )
    config["datasets"].append({"path": str(path), "ds_type": "json", "type": "completion", "field": "text"})
    return config


@pytest.mark.axolotl
def test_a_set_that_overfits_is_stopped_and_stays_so_when_the_run_resumes(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = learnt_by_heart(make_config, tmp_path)
    resumed = assert_resumes(config, monkeypatch, crash_at=50)
    record = next(record for record in read_trace(resumed) if "stopped" in record)
    stop = record["stopped"]["digits"]
    assert stop["lowest_step"] < record["step"] == stop["step"] < 100
    assert stop["lowest"] < stop["loss"]
    assert record["weights"] == {"sums": [0.5, 0.5], "digits": [0, 0]}
    drawn = [row for step in lines(resumed / "hbo_rows.jsonl") for row in step["rows"]]
    assert max(drawn[: record["head"]]) >= 80
    assert max(drawn[record["head"] :]) < 80
    told = f"`max_epochs: auto` stopped `digits` at step {stop['step']}: its held-out loss rose from"
    shown = capsys.readouterr().out
    assert f"hbo: {told}" in shown
    assert f"Note: {told}" not in " ".join(shown.split())
    last = {**config, "output_dir": str(resumed), "resume_from_checkpoint": str(resumed / "checkpoint-100")}
    train(last)
    assert f"Note: {told}" in " ".join(capsys.readouterr().out.split())
    assert [row for step in lines(resumed / "hbo_rows.jsonl") for row in step["rows"]] == drawn


@pytest.mark.axolotl
def test_everything_that_is_stopped_goes_on_with_a_warning(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a method that measures, with packing and a target; each loss that is not the lowest counts as a rise."""
    from hbo_plugin.training import warnings

    found: list[str] = []
    monkeypatch.setattr(warnings.LOG, "warning", lambda text, *args: found.append(text % args))
    monkeypatch.setattr(overfitting, "_rise", lambda *_: np.inf)
    config = learnt_by_heart(
        make_config,
        tmp_path,
        method="learning_progress",
        max_epochs="auto",
        val_set_size={"digits": 48, "sums": 8},
        hold_steps=6,
        update_every=1,
        levels=1,
        target=["digits"],
    )
    config |= {"learning_rate": 0.1, "max_steps": 24, "save_steps": 24, "sample_packing": True}
    config |= {"eval_sample_packing": False, "pad_to_sequence_len": True}
    trace = read_trace(train(config))
    stopped = {name: stop["step"] for record in trace for name, stop in record.get("stopped", {}).items()}
    assert stopped.keys() == {"sums", "digits"}
    first, last = sorted(stopped, key=lambda name: stopped[name])
    between = [each for each in trace if stopped[first] <= each["step"] < stopped[last] and "weights" in each]
    assert all(record["weights"][first] == [0] for record in between)
    assert trace[-1]["event"] == "end"
    assert trace[-1]["step"] == 24
    assert sum(trace[-1]["weights"][first]) > 0
    (warning,) = (text for text in found if "leaves no dataset to draw" in text)
    assert warning == (
        f"hbo: from step {max(stopped.values())} on, `max_epochs` leaves no dataset to draw, so the run goes on with all of "
        f"them, stopped ones too; end it here, or raise `max_epochs`."
    )


@pytest.mark.axolotl
def test_auto_without_a_held_out_set_is_refused(make_config: Any, tmp_path: Path) -> None:
    from hbo_plugin.setup import Setup

    def refused(**hbo: Any) -> str:
        with pytest.raises(ValueError, match="max_epochs: auto") as error:
            Setup(load(make_config(hbo=hbo), tmp_path)).refuse()
        return str(error.value)

    assert refused(max_epochs={"tales": "auto"}, method="static") == (
        "`hbo.max_epochs: auto` was given, but no held-out set belongs to `tales`; set `val_set_size`, or "
        "`hbo.held_out: {dataset: set}`, or give a number."
    )
    assert "belongs to `sums`, `words`, `tales`;" in refused(max_epochs="auto", method="static")
    assert "belongs to `words`;" in refused(
        max_epochs={"words": "auto", "tales": "auto"}, val_set_size={"tales": 8}, method="static"
    )
