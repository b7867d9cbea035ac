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


class Device:
    """A pretended one, that is given work and does it while the processor goes on; only waiting for it takes time."""

    def __init__(self) -> None:
        self.now, self.busy_until, self.waits = 0.0, 0.0, 0

    def give(self, seconds: float) -> None:
        self.busy_until = max(self.now, self.busy_until) + seconds

    def wait(self) -> None:
        self.now, self.waits = max(self.now, self.busy_until), self.waits + 1


def test_what_the_device_does_for_the_training_is_not_hbo_s(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forward and step keep it busy for 100 s each; of what `reuse` gives it, each look takes 1 s and adding up 10 s."""
    device, (source,) = Device(), training.run.sources.values()
    observe, gather, optimize = source.observe, source.gather, training.optimizer.step
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", device.wait)
    training.run.clock.now = lambda: device.now
    training.model.register_forward_pre_hook(lambda *_args: device.give(100))

    def make_step() -> None:
        device.give(100)
        optimize()

    def look(batch: Any) -> None:
        device.wait()  # for the labels, that it copies to the processor
        device.give(1)
        observe(batch)

    def add_up() -> None:
        device.give(10)
        device.wait()
        gather()

    monkeypatch.setattr(training.optimizer, "step", make_step)
    monkeypatch.setattr(source, "observe", look)
    monkeypatch.setattr(source, "gather", add_up)
    monkeypatch.setattr(source, "observes", lambda step: step > 1)
    training.run.clock.seconds["signals"] = 0.0  # of the beginning, in real time
    spent = []
    for number in (1, 2, 3):
        training.step(number)
        spent.append(training.run.clock.seconds["signals"])
        if number == 1:
            assert device.waits == 2, "where nothing looks, only the comparison of ranks waits"
    assert spent == [0, 11, 22]


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
