"""The twin: what its gap is, that it leaves no trace in the training, that it resumes, and how it ends."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from predicted import predicted
from resume import assert_resumes
from runs import history, lines, read_trace, train
from thread_ranks import OfTwo

from hbo_plugin.methods.base import NoSettings
from hbo_plugin.methods.static import Fixed

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytest.importorskip("torch")

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM

from hbo_plugin.cells import Cells
from hbo_plugin.ranks import Ranks
from hbo_plugin.signals import twin
from hbo_plugin.signals.context import Context, HeldOutRows
from hbo_plugin.signals.padding import fetch, pad
from hbo_plugin.signals.passes import answer_loss
from hbo_plugin.signals.sources import Batch

LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
HBO = {"method": "scalebio", "prior": "uniform", "update_every": 3, "twin_every": 2, "levels": 1, "record_rows": True}


class Watched(Fixed):
    """Uniform weights that no gap moves, though it is measured."""

    Settings = NoSettings
    signals = ("twin_gap",)

    def __init__(self, rows: NDArray[np.int64], settings: object, run: object) -> None:
        self._weights = rows / rows.sum()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Nothing was saved."""


def losses_of(folder: Path) -> list[Any]:
    return [*(history(folder, key) for key in ("loss", "grad_norm")), lines(folder / "hbo_rows.jsonl")]


@pytest.mark.axolotl
@pytest.mark.parametrize("packed", [False, True])
def test_a_twin_never_changes_the_training(make_config: Any, tmp_path: Path, *, packed: bool) -> None:
    """With dropout, checkpointing and accumulation: what a random number or a mode that differs would show in."""
    options = {
        **LORA,
        "lora_dropout": 0.3,
        "gradient_checkpointing": True,
        "val_set_size": 0.2,
        "sample_packing": packed,
    }
    block = {"method": f"{Watched.__module__}.Watched", "update_every": 8, "levels": 1, "record_rows": True}
    with_twin = train(make_config(hbo=block, output_dir=str(tmp_path / "with"), **options))
    static = {"method": "static", "prior": "proportional", "record_rows": True}
    without = train(make_config(hbo=static, output_dir=str(tmp_path / "without"), **options))
    assert losses_of(with_twin) == losses_of(without)
    measured = [record["signals"]["twin_gap"] for record in read_trace(with_twin) if "signals" in record]
    assert [sorted(gaps) for gaps in measured] == [["sums", "tales", "words"]]
    assert all(gap is not None and 0 < abs(gap) < 1 for gap in measured[0].values())


@pytest.mark.axolotl
def test_a_killed_run_goes_on_with_its_twin(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint of step 4, of which the next update knows the gap of one twin step."""
    config = make_config(hbo=HBO, val_set_size=0.2, lora_dropout=0.1, **LORA)
    folder = assert_resumes(config, monkeypatch, crash_at=7)
    state = json.loads((folder / "checkpoint-12" / "hbo_state.json").read_text())
    assert state["sources"]["twin"] == {"dropped": 0, "steps": 6, "lost": False}
    moved = [record["weights"]["sums"] for record in read_trace(folder)]
    assert moved[0] != moved[-1]


# A model of six rows, by hand. All held-out rows are the same one, so that it does not matter which are drawn.

RATE, PENALTY = 0.01, 2.0
ROWS = [
    {"input_ids": ids, "labels": [-100, *ids[1:]]}
    for ids in ([1, 2, 3], [4, 5, 6, 7], [2, 2], [9, 8, 7], [3, 3, 3], [6, 1])
]
HELD_OUT = [{"input_ids": [1, 4, 9, 2], "labels": [-100, -100, 9, 2]}] * 4


def model_of() -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=12, **shape))


def numbers(model: Any) -> Any:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def twin_of(model: Any, ranks: Ranks) -> twin.Twin:
    lengths = np.array([len(row["input_ids"]) for row in ROWS], np.int32)
    trainer = SimpleNamespace(
        model=model,
        train_dataset=Dataset.from_list(ROWS),
        optimizer=torch.optim.SGD(model.parameters(), lr=RATE),
        args=SimpleNamespace(per_device_train_batch_size=1),
        processing_class=None,
        compute_loss_context_manager=nullcontext,
    )
    held_out = HeldOutRows(Dataset.from_list(HELD_OUT), np.full(4, 4, np.int32), {"a": range(3), "b": range(3, 4)})
    cells = Cells(("x", "y", "z"), np.array([[2], [2], [2]]), lengths, lengths - 1, ())
    context = Context(
        trainer, cells, ranks, penalty=PENALTY, twin_every=1, steering=held_out, target={"a": 0.75, "b": 0.25}
    )
    source = twin.Twin(("twin_gap",), context)
    source.begin(0)
    return source


def step(source: twin.Twin, rows: list[int]) -> None:
    """Observe two micro-batches, step with the model, and gather."""
    model, trainer = source._context.model, source._context.trainer
    for part in (rows[:1], rows[1:]):
        inputs = pad(fetch(trainer.train_dataset, part))
        outputs = model(**inputs)
        lines = [[row] for row in part]
        source.observe(
            Batch(inputs, outputs, lines, predicted(source._context, outputs.logits, inputs["labels"], lines))
        )
        outputs.loss.backward()
    trainer.optimizer.step()
    model.zero_grad()
    source.gather()


def row_losses(model: Any, rows: list[dict[str, Any]]) -> Any:
    sums, tokens = answer_loss(model, pad(rows))
    return sums, tokens


def expected(steps: list[list[int]]) -> tuple[Any, dict[int, list[float]]]:
    """What the twin of a single process should be after these steps, by torch's own AdamW, and the gaps of the rows."""
    model, other = model_of(), model_of()
    optimizer = torch.optim.AdamW(other.parameters(), lr=RATE, weight_decay=5e-4)
    gaps: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for rows in steps:
        given = [ROWS[row] for row in rows]
        sums, tokens = row_losses(other, given)
        held, count = row_losses(other, HELD_OUT[:1])
        before, _ = row_losses(model, given)
        for row, gap in zip(rows, ((sums - before) / tokens).tolist(), strict=True):
            gaps[row // 2].append(gap)
        (sums.sum() / tokens.sum() + held.sum() / count.sum() / PENALTY).backward()
        torch.nn.utils.clip_grad_norm_(other.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for part in (rows[:1], rows[1:]):
            model(**pad([ROWS[row] for row in part])).loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.sub_(RATE * parameter.grad)
        model.zero_grad()
    return numbers(other), gaps


STEPS = [[0, 2, 3], [1, 3, 2], [0, 1, 2]]


def test_the_twin_and_its_gap_are_those_of_the_formula() -> None:
    model = model_of()
    source = twin_of(model, Ranks())
    for rows in STEPS:
        step(source, rows)
    wanted, gaps = expected(STEPS)
    torch.testing.assert_close(source._apart + numbers(model), wanted, atol=1e-5, rtol=1e-4)
    found = source.measure(3)["twin_gap"]
    np.testing.assert_allclose(found[:2], [np.mean(gaps[0]), np.mean(gaps[1])], atol=1e-5)
    assert np.abs(found[:2]).min() > 1e-3
    assert np.isnan(found[2])
    assert np.isnan(source.measure(4)["twin_gap"]).all()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ranks_that_share_a_step_have_the_twin_of_one_process() -> None:
    """Each trains on its rows, and the models are equal: they make no step here."""
    steps = [[0, 2, 3, 4], [1, 3, 2, 5]]
    alone = twin_of(model_of(), Ranks())
    alone._context.trainer.optimizer.step = lambda: None
    for rows in steps:
        step(alone, rows)
    sources = [twin_of(model_of(), OfTwo(rank, 2)) for rank in range(2)]

    def run(source: twin.Twin) -> Any:
        source._context.trainer.optimizer.step = lambda: None
        for rows in steps:
            step(source, rows[source._context.ranks.rank :: 2])
        return source._apart, source.measure(2)["twin_gap"]

    with ThreadPoolExecutor() as pool:
        (first, gaps), (second, others) = pool.map(run, sources)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, alone._apart, atol=1e-5, rtol=1e-3)
    np.testing.assert_array_equal(gaps, others)
    np.testing.assert_allclose(gaps, alone.measure(2)["twin_gap"], atol=1e-5)


def test_a_twin_that_is_not_a_number_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(twin.LOG, "warning", lambda text, *args: warnings.append(text % args))
    model, other = model_of(), model_of()
    source, undisturbed = twin_of(model, Ranks()), twin_of(other, Ranks())
    step(source, STEPS[0])
    source._apart[-1] = torch.nan
    step(source, STEPS[1])
    for rows in STEPS[:2]:
        step(undisturbed, rows)
    assert torch.equal(numbers(model), numbers(other))
    (warning,) = warnings
    assert warning.startswith("hbo: the gradient of the twin is not a number, so `twin_gap` is not measured any more")
    assert not source.observes(3)
    dropped = source.dropped
    assert np.isnan(source.measure(3)["twin_gap"]).all()
    assert source.dropped == dropped  # the warning has said it
    again = twin_of(model, Ranks())
    again.load_state_dict(json.loads(json.dumps(source.state_dict())))
    assert not again.observes(4)


def test_a_twin_of_another_adapter_is_refused() -> None:
    source = twin_of(model_of(), Ranks())
    kept = {name: tensor[:-1] for name, tensor in source.tensors().items()}
    with pytest.raises(ValueError, match=r"has a twin of 663 numbers, but this run trains 664; set `lora_r`"):
        source.load_tensors(kept)
