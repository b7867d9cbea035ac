"""Signals: each against a calculation of its own, and no trace of the measuring left behind."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from datasets import Dataset  # noqa: E402
from safetensors.torch import load, save  # noqa: E402
from torch.nn import functional  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.signals.context import Context, HeldOutRows  # noqa: E402
from hbo_plugin.signals.held_out import HeldOut  # noqa: E402
from hbo_plugin.signals.padding import by_length, fetch, pad  # noqa: E402
from hbo_plugin.signals.probes import Probes  # noqa: E402

ROWS, LEVELS = 24, 2


@pytest.fixture
def model(tiny_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.fixture
def trainer(model: Any) -> Any:
    """As much of a Trainer as a context reads, on two datasets of 16 and 8 rows."""
    rng = np.random.default_rng(5)
    rows = []
    for index in range(ROWS):
        ids = rng.integers(4, 200, 3 + index % 5).tolist()
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100, *ids[1:]]})
    return SimpleNamespace(
        model=model,
        train_dataset=Dataset.from_list(rows),
        args=SimpleNamespace(per_device_train_batch_size=2),
        compute_loss_context_manager=nullcontext,
        optimizer=SimpleNamespace(param_groups=[{"lr": 0.1}]),
        processing_class=None,
    )


@pytest.fixture
def probes(trainer: Any) -> Callable[..., Probes]:
    """A function that makes probes of these signals; keywords replace what the context says."""
    lengths = np.array([len(row["input_ids"]) for row in trainer.train_dataset], np.int32)
    cells = Cells(("a", "b"), np.array([[8, 8], [4, 4]]), lengths, lengths, ("", ""))
    context = Context(trainer, cells, seed=3, gradient_rows=100, forward_rows=100)
    return lambda *names, **changes: Probes(names, replace(context, **changes))


def loss(model: Any, row: dict[str, Any]) -> Any:
    """Summed loss of one row's answer, alone and unpadded."""
    logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1]
    return functional.cross_entropy(logits, torch.tensor(row["labels"][1:]), reduction="sum")


def test_rows_are_fetched_in_the_order_asked_for(trainer: Any) -> None:
    rows = trainer.train_dataset
    assert fetch(rows, np.array([5, 0, 5])) == [rows[5], rows[0], rows[5]]
    assert fetch(rows, []) == []


def test_gradient_norm(trainer: Any, probes: Callable[..., Probes]) -> None:
    norms = probes("gradient_norm").measure(1)["gradient_norm"]
    for rows, norm in zip((range(16), range(16, 24)), norms, strict=True):
        picked = [trainer.train_dataset[row] for row in rows]
        total = sum(loss(trainer.model, row) for row in picked) / sum(len(row["input_ids"]) - 1 for row in picked)
        gradients = torch.autograd.grad(total, list(trainer.model.parameters()))
        assert norm == pytest.approx(float(sum(g.square().sum() for g in gradients)) ** 0.5, rel=1e-4)


def test_row_gradient_norm_is_the_mean_over_whole_rows(trainer: Any, probes: Callable[..., Probes]) -> None:
    trainer.train_dataset[3]["labels"] = [-100] * 4 + trainer.train_dataset[3]["labels"][4:]  # most of it is prompt
    found = probes("row_gradient_norm").measure(1)["row_gradient_norm"]
    for rows, norm in zip((range(16), range(16, 24)), found, strict=True):
        norms = []
        for row in rows:
            whole = {**trainer.train_dataset[row], "labels": trainer.train_dataset[row]["input_ids"]}
            norms.append(float(gradient(trainer.model, [whole]).square().sum()) ** 0.5)
        assert norm == pytest.approx(np.mean(norms), rel=1e-4)


def test_mean_perplexity_ratio_is_of_other_rows_at_each_update(trainer: Any, probes: Callable[..., Probes]) -> None:
    source, few = probes("mean_perplexity_ratio"), probes("mean_perplexity_ratio", forward_rows=2)
    with pytest.raises(RuntimeError, match="before the start was measured"):
        source.measure(1)
    for each in (source, few):
        each.begin(0)
    with torch.no_grad():
        before = [float(loss(trainer.model, row)) / (len(row["input_ids"]) - 1) for row in trainer.train_dataset]
        for parameter in trainer.model.parameters():
            parameter.mul_(1.1)
        after = [float(loss(trainer.model, row)) / (len(row["input_ids"]) - 1) for row in trainer.train_dataset]
    ratio = np.exp(np.array(after) - np.array(before))
    expected = [[ratio[:8].mean(), ratio[8:16].mean()], [ratio[16:20].mean(), ratio[20:].mean()]]
    np.testing.assert_allclose(source.measure(1)["mean_perplexity_ratio"], expected, rtol=1e-4)
    first, later = (few.measure(step)["mean_perplexity_ratio"] for step in (1, 2))
    assert (first != later).any()
    resumed = probes("mean_perplexity_ratio", forward_rows=2)
    resumed.load_tensors(load(save(few.tensors())))
    np.testing.assert_array_equal(resumed.measure(2)["mean_perplexity_ratio"], later)


def test_perplexity_ratio(trainer: Any, probes: Callable[..., Probes]) -> None:
    source = probes("perplexity_ratio")
    source.begin(0)
    with torch.no_grad():
        before = [float(loss(trainer.model, row)) / (len(row["input_ids"]) - 1) for row in trainer.train_dataset]
        for parameter in trainer.model.parameters():
            parameter.mul_(1.1)
        after = [float(loss(trainer.model, row)) / (len(row["input_ids"]) - 1) for row in trainer.train_dataset]
    change = np.array(after) - np.array(before)
    expected = np.exp([[change[:8].mean(), change[8:16].mean()], [change[16:20].mean(), change[20:].mean()]])
    np.testing.assert_allclose(source.measure(1)["perplexity_ratio"], expected, rtol=1e-4)


def gradient(model: Any, rows: list[dict[str, Any]]) -> Any:
    """Of the mean loss a token, as one vector."""
    total = sum(loss(model, row) for row in rows) / sum(len(row["input_ids"]) - 1 for row in rows)
    return torch.cat([part.flatten() for part in torch.autograd.grad(total, list(model.parameters()))])


def test_gradient_variance(trainer: Any) -> None:
    """With rows of one length and a part for each row, the parts' variance is that of the rows."""
    rows = [{"input_ids": [4 + row, 9, 30 + 2 * row], "labels": [-100, 9, 30 + 2 * row]} for row in range(12)]
    trainer.train_dataset = Dataset.from_list(rows)
    cells = Cells(("a", "b"), np.array([[8], [4]]), np.full(12, 3, np.int32), np.full(12, 3, np.int32), ("", ""))
    source = Probes(["gradient_variance"], Context(trainer, cells, seed=3, gradient_rows=8))
    found = source.measure(1)["gradient_variance"]
    for part, variance in zip((rows[:8], rows[8:]), found, strict=True):
        each = torch.stack([gradient(trainer.model, [row]) for row in part])
        assert variance == pytest.approx(float(each.var(0).sum()), rel=1e-3)


def test_gradient_alignment_and_held_out_loss(trainer: Any, probes: Callable[..., Probes]) -> None:
    held_out = [trainer.train_dataset[row] for row in (3, 4, 18, 19, 20)]
    source = probes(
        "gradient_alignment",
        steering=HeldOutRows(
            Dataset.from_list(held_out),
            np.array([len(row["input_ids"]) for row in held_out], np.int32),
            {"b_dev": range(2), "c": range(2, 5)},
        ),
        target={"b_dev": 0.75, "c": 0.25},
        tied={"b": "b_dev"},
    )
    sets = [gradient(trainer.model, held_out[:2]), gradient(trainer.model, held_out[2:])]
    for rows, found in zip((range(16), range(16, 24)), source.measure(1)["gradient_alignment"], strict=True):
        direction = gradient(trainer.model, [trainer.train_dataset[row] for row in rows])
        cosines = [float(functional.cosine_similarity(direction, each, dim=0)) for each in sets]
        assert found == pytest.approx(np.average(cosines, weights=[3, 1]), rel=1e-3)
    tokens = sum(len(row["input_ids"]) - 1 for row in held_out[:2])
    with torch.no_grad():
        expected = float(sum(loss(trainer.model, row) for row in held_out[:2])) / tokens
    losses = HeldOut(["held_out_loss"], source._context).measure(1)["held_out_loss"]
    assert np.isnan(losses[0])
    assert losses[1] == pytest.approx(expected, rel=1e-5)


def test_held_out_losses_that_are_not_finite_are_counted(trainer: Any, probes: Callable[..., Probes]) -> None:
    """Of each dataset that has held-out rows: the others were not measured at all."""
    held_out = trainer.train_dataset.select([3, 4])
    sizes = np.array([len(ids) for ids in held_out["input_ids"]], np.int32)
    made = probes(steering=HeldOutRows(held_out, sizes, {"b": range(2)}), target={"b": 1.0}, tied={"b": "b"})
    source = HeldOut(["held_out_loss"], made._context)
    source.measure(1)
    assert source.dropped == 0
    with torch.no_grad():
        trainer.model.lm_head.weight.fill_(float("nan"))
    assert np.isnan(source.measure(2)["held_out_loss"]).all()
    assert source.dropped == 1


def test_look_ahead_is_what_a_small_step_takes_off(trainer: Any, probes: Callable[..., Probes]) -> None:
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.optimizer.param_groups[0]["lr"] = 1e-3
    found = probes("look_ahead").measure(1)["look_ahead"]
    for rows, drop in zip((range(16), range(16, 24)), found, strict=True):
        picked = [trainer.train_dataset[row] for row in rows]
        tokens = sum(len(row["input_ids"]) - 1 for row in picked)
        step = gradient(trainer.model, picked).split([parameter.numel() for parameter in before])
        with torch.no_grad():
            first = float(sum(loss(trainer.model, row) for row in picked)) / tokens
            for parameter, part in zip(trainer.model.parameters(), step, strict=True):
                parameter.sub_(1e-3 * part.view(parameter.shape))
            second = float(sum(loss(trainer.model, row) for row in picked)) / tokens
            for parameter, old in zip(trainer.model.parameters(), before, strict=True):
                parameter.copy_(old)
        assert drop > 0
        assert drop == pytest.approx((first - second) / first, rel=2e-2)


def test_look_ahead_survives_weights_that_a_step_is_too_small_to_move(
    trainer: Any, probes: Callable[..., Probes]
) -> None:
    trainer.optimizer.param_groups[0]["lr"] = 2e-6
    whole = probes("look_ahead").measure(1)["look_ahead"]
    trainer.model.to(torch.bfloat16)
    np.testing.assert_allclose(probes("look_ahead").measure(1)["look_ahead"], whole, rtol=0.03)


def test_forward_signals(trainer: Any, probes: Callable[..., Probes]) -> None:
    signals = probes("loss", "entropy", "similarity").measure(1)
    cells = [range(8), range(8, 16), range(16, 20), range(20, 24)]
    states = []
    with torch.no_grad():
        for index, rows in enumerate(cells):
            picked = [trainer.train_dataset[row] for row in rows]
            outputs = [trainer.model(torch.tensor([row["input_ids"]]), output_hidden_states=True) for row in picked]
            states.append(torch.stack([output.hidden_states[-1][0].mean(0) for output in outputs]))
            tokens = sum(len(row["input_ids"]) - 1 for row in picked)
            entropy = sum(
                float(torch.distributions.Categorical(logits=output.logits[0, :-1]).entropy().sum())
                for output in outputs
            )
            where = divmod(index, LEVELS)
            assert signals["entropy"][where] == pytest.approx(entropy / tokens, rel=1e-4)
            expected = float(sum(loss(trainer.model, row) for row in picked)) / tokens
            assert signals["loss"][where] == pytest.approx(expected, rel=1e-4)
    mean = torch.stack([torch.cat(states[:2]).mean(0), torch.cat(states[2:]).mean(0)])
    cosine = float(functional.cosine_similarity(mean[0], mean[1], dim=0))
    np.testing.assert_allclose(signals["similarity"], [(1 + cosine) / 2] * 2, rtol=1e-4)


def test_measuring_leaves_no_trace(trainer: Any, probes: Callable[..., Probes]) -> None:
    dropout = torch.nn.Dropout(0.5)
    trainer.model.add_module("dropout", dropout)
    trainer.model.train()
    trainer.model.model.layers[0].eval()
    modes = [module.training for module in trainer.model.modules()]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    source = probes("gradient_norm", "perplexity_ratio", "look_ahead", "similarity")
    source.begin(0)
    source.measure(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in trainer.model.modules()] == modes
    assert all(parameter.grad is None for parameter in trainer.model.parameters())


def test_what_is_not_finite_is_left_out_and_counted(trainer: Any, probes: Callable[..., Probes]) -> None:
    rows = trainer.train_dataset.to_list()
    rows[0]["labels"] = [-100] * len(rows[0]["labels"])
    trainer.train_dataset = Dataset.from_list(rows)
    source = probes("gradient_norm", "perplexity_ratio")
    source.begin(0)
    np.testing.assert_allclose(source.measure(1)["perplexity_ratio"], 1)
    assert source.dropped == 1
    with torch.no_grad():
        trainer.model.lm_head.weight.fill_(float("nan"))
    signals = source.measure(2)
    assert np.isnan(signals["gradient_norm"]).all()
    assert np.isnan(signals["perplexity_ratio"]).all()
    assert source.dropped == 1 + 2 + ROWS


def test_a_cell_without_rows_is_not_measured(trainer: Any, probes: Callable[..., Probes]) -> None:
    """A dataset may have fewer rows than levels."""
    lengths = np.array([len(row["input_ids"]) for row in trainer.train_dataset], np.int32)
    cells = Cells(("a", "b"), np.array([[16, 0], [4, 4]]), lengths, lengths, ("", ""))
    source = probes("loss", "perplexity_ratio", cells=cells)
    source.begin(0)
    for name, values in source.measure(1).items():
        assert np.isnan(values).tolist() == [[False, True], [False, False]], name
    assert source.dropped == 0


def test_probes_resume(probes: Callable[..., Probes]) -> None:
    names = ("gradient_norm", "perplexity_ratio")
    source = probes(*names)
    source.begin(0)
    source.dropped = 5
    resumed = probes(*names)
    with pytest.raises(RuntimeError, match="before the start was measured"):
        resumed.measure(1)
    resumed.load_state_dict(json.loads(json.dumps(source.state_dict())))
    resumed.load_tensors(load(save(source.tensors())))
    resumed.begin(4)
    assert resumed.dropped == 5
    for name, values in source.measure(7).items():
        np.testing.assert_array_equal(values, resumed.measure(7)[name])
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        probes(*names, forward_rows=2).load_tensors(source.tensors())
    assert str(error.value) == (
        "the checkpoint measured 24 rows at the start, but this run samples 8; "
        "set `hbo.forward_rows` as it was, or start afresh."
    )


def test_samples_change_with_the_step_and_the_seed_alone(probes: Callable[..., Probes]) -> None:
    few = probes("gradient_norm", gradient_rows=3, forward_rows=2)
    first, again, later = (few.measure(step)["gradient_norm"] for step in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != later).all()
    other = probes("gradient_norm", gradient_rows=3, forward_rows=2, seed=4)
    assert (first != other.measure(1)["gradient_norm"]).all()


def test_batches_are_bounded_and_lose_nothing() -> None:
    lengths = np.array([5, 1, 9, 30, 2, 2, 2], np.int32)
    batches = list(by_length(lengths, 10))
    assert sorted(np.concatenate(batches)) == list(range(7))
    assert all(len(batch) * lengths[batch].max() <= 10 or len(batch) == 1 for batch in batches)
    assert batches[0].tolist() == [3]


def test_padding_is_masked() -> None:
    rows = [
        {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [-100, 6, 7]},
        {"input_ids": [8], "attention_mask": [1], "labels": [8]},
    ]
    batch = {name: values.tolist() for name, values in pad(rows).items()}
    assert batch["attention_mask"] == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"] == [[-100, 6, 7], [8, -100, -100]]
