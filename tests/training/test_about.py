"""What a trace says of its run: how it was configured, what it learned, how full its batches were; and what hbo cost, beside it."""

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from runs import history, lines, read_trace, short_run, train

from hbo_plugin.data.names import metric_names
from hbo_plugin.trace import COSTS_FILE

pytest.importorskip("axolotl")
pytestmark = pytest.mark.axolotl

NAMES = ["sums", "words", "tales"]
EVALUATED: dict[str, Any] = {"val_set_size": 0.2, "eval_steps": 6, "eval_strategy": "steps", "save_steps": 12}


@pytest.fixture(scope="module")
def folder(tiny_model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that is evaluated after 6 and 12 steps."""

    hbo = {"update_every": 3, "levels": 2, "max_epochs": {"tales": 9}}
    return train(short_run(tiny_model, corpus, tmp_path_factory.mktemp("about") / "out", hbo=hbo, **EVALUATED))


def test_the_first_line_says_what_the_run_is(folder: Path) -> None:
    import torch

    start = read_trace(folder)[0]
    assert start["steps"] == 12
    assert sum(start["prior"].values()) == pytest.approx(1)
    assert start["max_epochs"] == {"sums": 4.0, "words": 4.0, "tales": 9.0}
    assert {key: start["config"][key] for key in ("method", "update_every", "max_epochs")} == {
        "method": "hbo",
        "update_every": "3",
        "max_epochs": "{tales: 9.0}",
    }
    assert any("`tales` holds out" in note for note in start["notes"])
    assert start["versions"]["torch"] == torch.__version__.partition("+")[0]


def test_an_evaluation_has_the_training_losses_since_the_one_before(folder: Path) -> None:
    told = {record["step"]: record["training_loss"] for record in read_trace(folder) if record.get("training_loss")}
    assert [*told] == [6, 12]
    metrics = metric_names(NAMES)
    for name in NAMES:
        logged = history(folder, f"hbo/loss/{metrics[name]}")
        for step, losses in told.items():
            since = [loss for at, loss in logged.items() if step - 6 < at <= step]
            assert losses[name] == pytest.approx(fmean(since))


def test_costs_grow_and_are_those_of_the_log(folder: Path) -> None:
    costs = lines(folder / COSTS_FILE)
    assert [record["step"] for record in costs] == [record["step"] for record in read_trace(folder)]
    totals = [sum(record["seconds"].values()) for record in costs]
    assert totals == sorted(totals)
    assert all(total < record["elapsed"] for total, record in zip(totals, costs, strict=True))
    logged = history(folder, "hbo/overhead/seconds")
    assert totals[-1] >= logged[12] > logged[1]


def test_packed_batches_say_how_full_they_were(make_config: Any) -> None:
    packed = {"sample_packing": True, "eval_sample_packing": False, "pad_to_sequence_len": True}
    folder = train(make_config(hbo={"update_every": 3, "levels": 1}, max_steps=6, save_steps=6, **packed))
    start, *_, end = read_trace(folder)
    assert "efficiency" not in start
    assert end["efficiency"] == history(folder, "hbo/packing/efficiency")[6]
    update = next(record for record in read_trace(folder) if record["event"] == "update")
    assert set(update["training_loss"]) <= set(NAMES)  # nothing is evaluated: updates have them
    assert update["training_loss"]
