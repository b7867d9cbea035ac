"""The step of a run, without Axolotl."""

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks.training_run import MODELS, Training, made_rows


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
