"""Real Axolotl runs with `sample_packing: true`: weights act, nothing is lost, and a resumed run packs the same."""

import json
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from resume import assert_resumes
from runs import history, lines, load, read_trace, train

from hbo_plugin import MixtureSampler
from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data
from hbo_plugin.training.step_shape import Bins, StepShape

pytestmark = pytest.mark.axolotl

HBO = {"update_every": 3, "levels": 2, "record_rows": True, "gradient_rows": 4, "forward_rows": 4}


@pytest.fixture
def packed(make_config: Any) -> Any:
    """A function that makes the configuration of a packed run, eight steps of two batches of two bins."""

    def make(hbo: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {"sample_packing": True, "sequence_len": 256, "max_steps": 8, "pad_to_sequence_len": True, **changes}
        config: dict[str, Any] = make_config(hbo={**HBO, **(hbo or {})}, **settings)
        return config

    return make


def _state(folder: Path, step: int) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / f"checkpoint-{step}" / "hbo_state.json").read_text())
    return state


@pytest.mark.parametrize("real_batches", [True, False])
def test_packed_batches_are_the_stream_in_bins(packed: Any, *, real_batches: bool) -> None:
    """In both shapes of batches that Axolotl has; and new weights act on every row drawn after them."""
    folder = train(packed(multipack_real_batches=real_batches))
    trace = read_trace(folder)
    assert [(record["event"], record["step"]) for record in trace] == [
        ("start", 0),
        ("update", 3),
        ("update", 6),
        ("end", 8),
    ]
    assert trace[1]["weights"] != trace[0]["weights"]
    state = _state(folder, 8)
    recorded = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    stream = MixtureSampler.from_state_dict(state["mixture"])
    drawn = stream.fill(0, state["batcher"]["head"]).tolist()
    assert sorted(recorded + state["batcher"]["waiting"]) == sorted(drawn)
    assert state["batcher"]["bins"] == (32 if real_batches else 16)
    efficiency = history(folder, "hbo/packing/efficiency")
    assert min(efficiency[step] for step in range(2, 9)) > 0.9
    delays = history(folder, "hbo/delay/steps")
    assert set(delays) == set(range(3, 9))
    assert all(0 < steps < 4 for steps in delays.values())


@pytest.mark.parametrize("crash_at", [5, 7])
def test_a_killed_packed_run_goes_on_inside_its_window(
    packed: Any, monkeypatch: pytest.MonkeyPatch, crash_at: int
) -> None:
    folder = assert_resumes(packed(), monkeypatch, crash_at)
    assert _state(folder, 4)["batcher"]["waiting"]


def test_a_packed_run_resumes_in_its_second_epoch(packed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An epoch is as many steps as the tokens of the training set fill; the schedule ends with the last."""
    config = packed(max_steps=None, num_epochs=2, sequence_len=128, save_total_limit=9)
    folder = assert_resumes(config, monkeypatch, crash_at=13)
    rates = history(folder, "learning_rate")
    steps = max(rates)
    assert _state(folder, steps)["batcher"]["bins"] == steps * 2 * 2
    tokens = sum(chain.from_iterable(read_trace(folder)[-1]["tokens"].values()))
    total = int(data.load(load(config, tmp_path), HBOConfig(levels=2)).cells.lengths.sum())
    assert (steps - 1) * 2 * 2 * 128 < 2 * total <= steps * 2 * 2 * 128
    assert tokens <= steps * 2 * 2 * 128
    epochs = json.loads((folder / f"checkpoint-{steps}" / "trainer_state.json").read_text())
    assert epochs["epoch"] == pytest.approx(2, abs=0.2)
    assert epochs["max_steps"] == steps
    assert rates[steps] < rates[1] / 50


@pytest.mark.parametrize(("unit", "counted"), [("token", "tokens"), ("trained_token", "trained_tokens")])
def test_token_weights_are_shares_of_tokens(packed: Any, unit: str, counted: str) -> None:
    hbo = {"method": "static", "prior": "uniform", "unit": unit, "max_epochs": None}
    last = read_trace(train(packed(hbo, max_steps=30)))[-1]
    tokens = {name: sum(cells) for name, cells in last[counted].items()}
    rows = {name: sum(cells) for name, cells in last["rows_trained"].items()}
    for name, count in tokens.items():
        assert sum(last["weights"][name]) == pytest.approx(1 / 3)
        assert count / sum(tokens.values()) == pytest.approx(1 / 3, abs=0.01)
    assert max(rows.values()) > 1.5 * min(rows.values())


def test_a_packed_evaluation_needs_tokens(packed: Any) -> None:
    few = {"val_set_size": {"sums": 2, "words": 1, "tales": 1}}
    with pytest.raises(ValueError, match=r"held-out rows have \d+ tokens and fill fewer than the 2 x 256 tokens"):
        train(packed(few))
    folder = train(packed(few, val_set_size=0.02, eval_sample_packing=False, eval_steps=4, max_steps=4))
    assert history(folder, "eval_loss")[4] > 0


def test_the_window_follows_the_steps() -> None:
    def shape(rows: int, ranks: int) -> StepShape:
        common: dict[str, Any] = {"sample_packing": True, "multipack_real_batches": True}
        common |= {"gradient_accumulation_steps": 1, "dataloader_num_workers": 0}
        args = SimpleNamespace(max_steps=10, max_seq_length=128, train_batch_size=rows, **common)
        return StepShape.of(args, ranks)

    assert [shape(rows, ranks).bins for rows, ranks in ((1, 1), (4, 2), (8, 8))] == [
        Bins(128, 1, 16),
        Bins(128, 4, 32),
        Bins(128, 8, 64),
    ]
    assert shape(4, 2).capacity == 2 * 4 * 128
