"""Resume on one process: rows, weights, signals and losses are those of the run that was never stopped."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from resume import assert_resumes
from runs import history, lines, read_trace, train

pytestmark = pytest.mark.axolotl


@pytest.mark.parametrize(
    ("save_steps", "crash_at"),
    [pytest.param(4, 11, id="before"), pytest.param(3, 5, id="on"), pytest.param(4, 5, id="after")],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, save_steps: int, crash_at: int
) -> None:
    """From a checkpoint before, on and after an update of the weights, which is made every 3 steps."""
    assert_resumes(make_config(save_steps=save_steps), monkeypatch, crash_at)


@pytest.mark.bf16
def test_a_killed_run_in_bfloat16_goes_on_as_if_nothing_had_happened(
    make_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signals, which the state adds up, are computed in bfloat16."""
    # What the plugin and Axolotl set for this run is put back.
    monkeypatch.setattr("axolotl.utils.trainer.check_cuda_p2p_ib_support", lambda: True)
    for name in ("ACCELERATE_USE_CPU", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.setenv(name, "")
    config = make_config(bf16=True)
    config["plugins"].append("cpu_ranks.CPURanksPlugin")
    assert_resumes(config, monkeypatch, crash_at=5)
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "bf16"


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_that_was_killed_after_its_last_step_trains_no_more(make_config: Any, *, packed: bool) -> None:
    config = make_config(max_steps=6, save_steps=3, sample_packing=packed, auto_resume_from_checkpoints=True)
    folder = train(config)
    files = [folder / name for name in ("hbo_trace.jsonl", "hbo_rows.jsonl", "model.safetensors")]
    before = [path.read_bytes() for path in files]
    files[-1].unlink()
    train(config)
    assert [path.read_bytes() for path in files] == before
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-3", "checkpoint-6"]


def test_resume_in_the_second_epoch(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config({"sums": 12, "words": 8}, max_steps=None, num_epochs=3, save_steps=4, save_total_limit=9)
    folder = assert_resumes(config, monkeypatch, crash_at=11)
    assert (folder / "checkpoint-15").exists()  # three epochs of 20 rows, four a step


def test_resume_without_the_optimizer(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`save_only_model` loses the optimizer, so losses differ; the stream does not."""
    config = make_config(save_only_model=True, hbo={"method": "static", "levels": 2, "record_rows": True})
    assert_resumes(config, monkeypatch, crash_at=6, losses=False)


@pytest.fixture
def checkpoint(make_config: Any) -> Path:
    return train(make_config(max_steps=4)) / "checkpoint-4"


def resume(config: dict[str, Any], checkpoint: Path) -> None:
    train({**config, "output_dir": str(checkpoint.parent), "resume_from_checkpoint": str(checkpoint)})


def test_a_checkpoint_made_without_hbo_is_refused(make_config: Any) -> None:
    checkpoint = train(make_config(hbo=None, max_steps=4)) / "checkpoint-4"
    with pytest.raises(
        ValueError, match=r"holds no `hbo_state\.json`, so it was made without hbo; resume without `hbo:`"
    ):
        resume(make_config(), checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hbo": {"method": "static", "prior": "uniform", "levels": 2}},
            (
                "the checkpoint was trained with `method: hbo`, but `hbo:` has `method: static`; change `method` back, "
                "or start afresh in another `output_dir`."
            ),
        ),
        (
            {"hbo": {"levels": 2, "unit": "token"}},
            (
                "the checkpoint was trained with `unit: row`, but `hbo:` has `unit: token`; change `unit` back, "
                "or start afresh in another `output_dir`."
            ),
        ),
        (
            {"hbo": {"levels": 2, "names": ["a", "b", "tales"]}},
            (
                "the checkpoint mixes other datasets: this run adds `a`, `b` and lacks `sums`, `words`; change `datasets:` and `hbo.names` back, or begin a new run from the checkpoint's model, with `base_model:` "
                "(for an adapter, `lora_model_dir:`) set to the checkpoint, another `output_dir`, and no "
                "`resume_from_checkpoint`."
            ),
        ),
        (
            {"hbo": {"levels": 4}},
            (
                "the rows or levels of dataset `sums` are not those of the checkpoint; restore the data, `sequence_len`, "
                "`val_set_size`, `seed` and `hbo:` keys of that run, or start afresh."
            ),
        ),
        (
            {"micro_batch_size": 1},
            (
                "the checkpoint trained on 4 rows a step, but this run would on 2 rows; keep `sample_packing` and micro_batch_size * "
                "gradient_accumulation_steps * ranks as they were, or start afresh."
            ),
        ),
    ],
)
def test_another_run_s_checkpoint_is_refused(
    make_config: Any, checkpoint: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        resume(make_config(**changes), checkpoint)
    assert str(error.value) == message


def test_other_data_under_the_same_names_are_refused(make_config: Any, checkpoint: Path) -> None:
    config = make_config({"sums": 81, "words": 40, "tales": 16})
    with pytest.raises(ValueError, match="the rows or levels of dataset `sums` are not those of the checkpoint"):
        resume(config, checkpoint)


def test_a_checkpoint_that_a_kill_left_incomplete_is_refused(make_config: Any, checkpoint: Path) -> None:
    """The state is written first: here the kill came before the Trainer's last file."""
    (checkpoint / "trainer_state.json").unlink()
    with pytest.raises(
        ValueError, match=r"`trainer_state\.json`, its last file, is missing; resume from the checkpoint before"
    ):
        resume(make_config(), checkpoint)


@pytest.mark.parametrize("left", [1, 0])
def test_a_run_goes_on_from_before_an_incomplete_checkpoint(
    make_config: Any, caplog: pytest.LogCaptureFixture, left: int
) -> None:
    """A kill leaves part of a checkpoint; with none before it, the run starts afresh."""
    config = make_config(max_steps=4, save_steps=2, auto_resume_from_checkpoints=True)
    folder = train(config)
    whole = lines(folder / "hbo_rows.jsonl"), read_trace(folder), history(folder, "loss")
    (folder / "checkpoint-4" / "trainer_state.json").unlink()
    if not left:
        shutil.rmtree(folder / "checkpoint-2")
    train(config)
    assert (lines(folder / "hbo_rows.jsonl"), read_trace(folder), history(folder, "loss")) == whole
    then = f"goes on from `{folder}/checkpoint-2`" if left else "starts afresh"
    assert (
        f"`{folder}/checkpoint-4`: incomplete, because the run died while it was written; this run {then}."
        in caplog.text
    )


def test_the_state_is_plain_json(checkpoint: Path) -> None:
    state = json.loads((checkpoint / "hbo_state.json").read_text())
    assert state["version"] == 1
    assert state["datasets"] == ["sums", "words", "tales"]
    assert sum(state["rows_trained"]) == 4 * 4
