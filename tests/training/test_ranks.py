"""Several ranks on CPU through Axolotl's own launchers: together they are the run of one process."""

import json
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import crash
import pytest
import witness
from launch import SHARDING, start
from packaging.version import Version
from runs import STILL, assert_traces_agree, history, lines, load, read_trace, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data

PACKING = {"sample_packing": True, "eval_sample_packing": False, "sequence_len": 256, "pad_to_sequence_len": True}


@pytest.fixture
def shared(make_config: Any) -> Any:
    """A function that makes the configuration of a short run that ranks can share."""

    def make(**changes: Any) -> dict[str, Any]:
        hbo = {"update_every": 2, "levels": 2, "record_rows": True, "gradient_rows": 4, "forward_rows": 4}
        settings = {
            "hbo": {**hbo, **changes.pop("hbo", {})},
            "learning_rate": STILL,
            "num_epochs": 9,
            "max_steps": 6,
            **changes,
        }
        config: dict[str, Any] = make_config(micro_batch_size=1, **settings)
        config["plugins"] += ["cpu_ranks.CPURanksPlugin", "witness.WitnessPlugin"]
        return config

    return make


def assert_one_run(
    together: Path, alone: Path, config: dict[str, Any], ranks: int, since: int = 0, processes: int = 1
) -> None:
    """Ranks drew what one process draws, each row was in one place, and weights are the same to the bit on all ranks.

    Args:
        together: output folder of the ranks.
        alone: output folder of the one process.
        config: of either.
        ranks: how many there were after step `since`.
        since: the first step whose batches are looked at is the next.
        processes: how many are one rank, and have the same batches.
    """
    recorded = lines(alone / "hbo_rows.jsonl")
    assert lines(together / "hbo_rows.jsonl") == recorded
    witnesses = [
        {record["step"]: record for record in lines(together / f"witness_{process}.jsonl")}
        for process in range(ranks * processes)
    ]
    rows = data.load(load(config, together), HBOConfig.model_validate(config["hbo"])).train["input_ids"]
    for record in recorded[since:]:
        seen = [rank[record["step"]] for rank in witnesses]
        assert len({json.dumps(one["weights"]) for one in seen}) == 1
        given = [one["batches"] for one in seen]
        assert all(batches == given[process - process % processes] for process, batches in enumerate(given))
        # One micro-batch of each rank after the other is the order of the stream.
        batches = [batch for turn in zip(*given[::processes], strict=True) for batch in turn]
        expected = iter(record["rows"])
        for sequence in (sequence for batch in batches for sequence in batch):
            assert_holds(sequence, expected, rows)
        assert next(expected, None) is None
    assert_traces_agree(together, alone)


def assert_holds(sequence: list[int], expected: Iterator[int], rows: Any) -> None:
    """A sequence of a batch is the next of the expected rows, as many as it has room for, and padding."""
    padding, place = 1, 0
    while place < len(sequence) and any(token != padding for token in sequence[place:]):
        row = rows[next(expected)]
        assert sequence[place : place + len(row)] == row
        place += len(row)


@pytest.mark.axolotl
def test_two_ranks_share_one_stream(shared: Any, tmp_path: Path) -> None:
    """Gradient accumulation, workers that load ahead, and every signal by probes that the ranks share out."""
    config = shared(hbo={"signals": "probe"}, dataloader_num_workers=2)
    alone = train({**config, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": 4})
    config["output_dir"] = str(tmp_path / "two")
    done = start(config, 2)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "two", alone, config, 2)
    records = read_trace(alone)
    assert records[1]["weights"] != records[0]["weights"]


@pytest.mark.parametrize(("packed", "fused", "ranks"), [(False, False, 2), (False, True, 2), (True, True, 4)])
def test_ranks_share_a_sharded_model(shared: Any, tmp_path: Path, *, packed: bool, fused: bool, ranks: int) -> None:
    """FSDP2: signals from the training batches, also those without logits, and losses of held-out rows, of which no rank has as many."""
    config = shared(val_set_size=9, eval_steps=3, **(PACKING if packed else {}))
    steps = 4 if packed else 2
    alone = train({**config, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": steps})
    config |= {"fsdp_version": 2, "fsdp_config": SHARDING, "gradient_accumulation_steps": steps // ranks}
    if fused:
        config |= {"plugins": [*config["plugins"], "fused_loss.FusedLossPlugin"], "cut_cross_entropy": True}
    config["output_dir"] = str(tmp_path / "together")
    done = start(config, ranks)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "together", alone, config, ranks)
    for rank in range(ranks):
        assert all(record["sharded"] for record in lines(tmp_path / "together" / f"witness_{rank}.jsonl"))
    losses = [history(folder, "hbo/loss/sums") for folder in (tmp_path / "together", alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0]
    events = [record["event"] for record in read_trace(alone)]
    assert {"update", "evaluate"} <= set(events)


@pytest.mark.parametrize(
    "changes",
    [{"micro_batch_size": 2, **PACKING}, {"fsdp_version": 2, "fsdp_config": SHARDING}],
    ids=["DDP, packed", "FSDP2"],
)
def test_ranks_train_branches_together(shared: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Each rank trains its part of a branch; effects, and the run afterwards, are those of one process.

    As far as each rank averages over the tokens of its own rows, which moves a loss of about 6 nats by some thousandths.
    """
    branches: dict[str, Any] = {
        "method": "branches",
        "branch_at": 3,
        "branch_steps": 3,
        "branch_budget": 9,
        "target": ["sums"],
        "prior": {"sums": 2, "words": 1, "tales": 1},
        "even": 1.0,  # so that the run goes on with the same rows
    }
    config = shared(hbo={**branches, "val_set_size": {"sums": 9}}, learning_rate=1e-3, max_steps=6)
    config |= changes
    same = {key: value for key, value in config.items() if not key.startswith("fsdp")}
    alone = train({**same, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": 4})
    config["output_dir"] = str(tmp_path / "together")
    done = start(config, 2)
    assert done.returncode == 0, done.stderr
    (update,), (wanted,) = (
        [record for record in read_trace(folder) if record["event"] == "update"]
        for folder in (tmp_path / "together", alone)
    )
    for signal in ("branch_effect", "branch_error", "branch_noise"):
        found, expected = (
            [record["signals"][signal][name]["sums"] for name in ("words", "tales")] for record in (update, wanted)
        )
        assert found == pytest.approx(expected, abs=3e-3)
        assert all(found)  # branches without a batch would all be alike
    assert lines(tmp_path / "together" / "hbo_rows.jsonl") == lines(alone / "hbo_rows.jsonl")
    assert history(tmp_path / "together", "loss") == pytest.approx(history(alone, "loss"), rel=1e-2)


@pytest.mark.parametrize(
    ("ranks", "hbo"),
    [
        (1, {"signals": "probe", "reward": {"global": "similarity", "local": "entropy"}}),
        (2, {"reward": {"global": "loss", "local": "perplexity_ratio"}}),
    ],
)
def test_two_processes_are_one_rank(shared: Any, tmp_path: Path, ranks: int, hbo: dict[str, Any]) -> None:
    """Tensor parallelism: passes of the model and their sums, then signals from the training batches."""
    if Version(version("axolotl")) < Version("0.21"):
        pytest.skip("Axolotl 0.19 ends there where it clips gradients, also without hbo")
    config = shared(hbo=hbo, val_set_size=9, eval_steps=3, save_strategy="no", save_steps=None)
    alone = train({**config, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": 2})
    config |= {"tensor_parallel_size": 2, "gradient_accumulation_steps": 2 // ranks}
    config["output_dir"] = str(tmp_path / "together")
    done = start(config, 2 * ranks)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "together", alone, config, ranks, processes=2)
    for process in range(2 * ranks):
        assert all(record["sharded"] for record in lines(tmp_path / "together" / f"witness_{process}.jsonl"))
    events = [record["event"] for record in read_trace(alone)]
    assert {"update", "evaluate"} <= set(events)


@pytest.mark.parametrize(("stage", "fused"), [(1, False), (2, False), (3, False), (2, True), (3, True)])
def test_two_ranks_share_a_model_by_zero(
    shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, stage: int, fused: bool
) -> None:
    """DeepSpeed, where it is installed: it compiles its communication with ninja and a C++ compiler."""
    if find_spec("deepspeed") is None or shutil.which("ninja") is None:
        pytest.skip("DeepSpeed or ninja is not installed: `pip install deepspeed ninja`")
    # A perplexity ratio is relative to the first batches there, as there are no passes before them.
    config = shared(hbo={"reward": {"global": "gradient_norm", "local": "loss"}})
    alone = train({**config, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": 4})
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    auto = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size", "gradient_clipping")
    settings = {
        "zero_optimization": {"stage": stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        **dict.fromkeys(auto, "auto"),
    }
    (tmp_path / "zero.json").write_text(json.dumps(settings))
    config |= {"gradient_accumulation_steps": 2, "output_dir": str(tmp_path / "two")}
    if fused:
        config |= {"plugins": [*config["plugins"], "fused_loss.FusedLossPlugin"], "cut_cross_entropy": True}
    done = start({**config, "deepspeed": str(tmp_path / "zero.json")}, 2)
    assert done.returncode == 0, done.stderr
    assert_one_run(tmp_path / "two", alone, config, 2)
    for rank in range(2):
        records = lines(tmp_path / "two" / f"witness_{rank}.jsonl")
        assert {record["engine"] for record in records} == {"DeepSpeedEngine"}


def test_a_packed_run_goes_on_with_other_numbers_of_ranks(
    shared: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From two ranks to one to four, and into the second epoch; each stops between a checkpoint and an update."""
    packing = {"sample_packing": True, "sequence_len": 256, "pad_to_sequence_len": True}
    config = shared(max_steps=9, save_steps=3, auto_resume_from_checkpoints=True, **packing)
    alone = train({**config, "output_dir": str(tmp_path / "alone"), "gradient_accumulation_steps": 4})
    folder = tmp_path / "resumed"
    config["output_dir"] = str(folder)
    config["plugins"].append("crash.CrashPlugin")
    monkeypatch.setenv(crash.VARIABLE, "5")
    died = start({**config, "gradient_accumulation_steps": 2}, 2)
    assert "CrashError" in died.stderr, died.stderr
    monkeypatch.setenv(crash.VARIABLE, "8")
    with pytest.raises(crash.CrashError):
        train({**config, "gradient_accumulation_steps": 4})
    monkeypatch.delenv(crash.VARIABLE)
    done = start({**config, "gradient_accumulation_steps": 1}, 4, "accelerate")
    assert done.returncode == 0, done.stderr
    assert_one_run(folder, alone, config, 4, since=6)
    state = json.loads((folder / "checkpoint-9" / "trainer_state.json").read_text())
    assert state["epoch"] > 1


def test_ranks_that_disagree_stop(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(witness.PERTURBED, "1")
    done = start(shared(), 2)
    assert done.returncode != 0
    message = (
        "RuntimeError: after step 2, the weights of rank 1 differ from rank 0's, but all ranks must train on one mixture; "
        "give every rank the same configuration, data, checkpoint and versions, and resume."
    )
    for rank in range(2):
        assert f"[rank{rank}]: {message}" in done.stderr, done.stderr
