"""The step of a run, without Axolotl."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from benchmarks.training_run import MODELS, Training, made_rows  # noqa: E402


@pytest.fixture
def training(tmp_path: Path) -> Training:
    """Two datasets of one level, measured at every second step."""
    data = made_rows((24, 16), 12), made_rows((4, 4), 12, seed=1)
    block = {"update_every": 2, "levels": 1}
    return Training.of(MODELS["tiny"](), *data, rows_per_step=8, steps=8, folder=tmp_path, block=block)


def test_what_was_dropped_before_a_checkpoint_is_reported_at_the_next_update(
    training: Training, caplog: pytest.LogCaptureFixture
) -> None:
    (source,) = training.run.sources.values()
    training.step(1)
    source.dropped += 3
    training.step(2)
    training.step(3)
    training.step(4)
    reports = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert reports == ["hbo: 3 measurements at step 2 were not finite and were left out (3 in this run)"]


def test_a_step_on_rows_that_hbo_did_not_draw_stops_the_run(training: Training) -> None:
    training.run._batcher = None
    with pytest.raises(RuntimeError) as error:
        training.run.after_step(1, last=False)
    assert str(error.value) == (
        "a step was made on rows that hbo did not draw: another plugin replaced the training DataLoader; remove it."
    )


def diverged(folder: Path, **keys: Any) -> Training:
    """A run just before its first update, whose model has not been a number since the last one."""
    data = made_rows((24, 16), 12), made_rows((4, 4), 12, seed=1)
    block = {"update_every": 2, "levels": 1, **keys}
    training = Training.of(MODELS["tiny"](), *data, rows_per_step=8, steps=8, folder=folder, block=block)
    with torch.no_grad():
        training.model.lm_head.weight.fill_(float("nan"))
    training.step(1)
    return training


def test_a_model_that_diverged_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    diverged(tmp_path).step(2)
    assert "nothing that was measured at step 2 is a finite number" in caplog.text
    assert "`hbo.stop_on_nan: true`" in caplog.text


def test_a_model_that_diverged_ends_the_run_where_that_is_asked_for(tmp_path: Path) -> None:
    training = diverged(tmp_path, stop_on_nan=True)
    with pytest.raises(RuntimeError, match="nothing that was measured at step 2 is a finite number"):
        training.step(2)


@pytest.mark.parametrize(("every", "warned"), [(8, True), (7, False)])
def test_updates_beyond_the_end_of_the_run_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, every: int, *, warned: bool
) -> None:
    data = made_rows((24, 16), 12), made_rows((4, 4), 12, seed=1)
    block = {"update_every": every, "levels": 1}
    Training.of(MODELS["tiny"](), *data, rows_per_step=8, steps=8, folder=tmp_path, block=block)
    found = "so the weights will never change; set `update_every: 1` for about 8 updates." in caplog.text
    assert found == warned
