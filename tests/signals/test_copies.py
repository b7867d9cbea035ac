"""Copies: what they gain against a calculation of its own, and that nothing of them is left."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from datasets import Dataset  # noqa: E402
from torch.nn import functional  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.signals import copies, padding  # noqa: E402
from hbo_plugin.signals.context import Context, HeldOutRows  # noqa: E402
from hbo_plugin.signals.copies import Draw, Gains, measure_gains  # noqa: E402
from hbo_plugin.signals.probes import Probes  # noqa: E402

NAMES = ("copy_gain", "transfer", "transfer_variance")
RATE, STEPS = 0.002, 3


def made(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of unequal length, of a few tokens again and again."""
    rng = np.random.default_rng(seed)
    rows = [np.resize(rng.choice([10, 20, 30 + seed], 3), 4 + index % 5).tolist() for index in range(count)]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100, *ids[1:]]} for ids in rows]


def lengths(rows: list[dict[str, Any]]) -> Any:
    return np.array([len(row["input_ids"]) for row in rows], np.int32)


@pytest.fixture
def context(tiny_model: Path) -> Context:
    """A run on two datasets of 12 and 8 rows, whose target is two held-out sets of 6 and 5."""
    from transformers import AutoModelForCausalLM

    rows = made(12, 1) + made(8, 2)
    held_out = made(6, 1) + made(5, 3)
    trainer = SimpleNamespace(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        train_dataset=Dataset.from_list(rows),
        args=SimpleNamespace(per_device_train_batch_size=2),
        compute_loss_context_manager=nullcontext,
        optimizer=SimpleNamespace(param_groups=[{"lr": RATE}]),
        processing_class=None,
    )
    sizes = np.array([[6, 6], [8, 0]])
    return Context(
        trainer,
        Cells(("a", "b"), sizes, lengths(rows), lengths(rows) - 1, ("", "")),
        seed=3,
        gradient_rows=4,
        forward_rows=100,
        copy_steps=STEPS,
        shares=lambda: np.array([0.25, 0.25, 0.5, 0]),
        steering=HeldOutRows(Dataset.from_list(held_out), lengths(held_out), {"x": range(6), "y": range(6, 11)}),
        target={"x": 0.5, "y": 0.5},
    )


def drawn(seed: int = 0) -> list[Draw]:
    rng = np.random.default_rng(seed)
    held_out = {"x": range(6), "y": range(6, 11)}
    return [
        Draw(rng.choice(20, 4), {name: rng.choice(rows, 3) for name, rows in held_out.items()}) for _ in range(STEPS)
    ]


def row_losses(model: Any, rows: list[dict[str, Any]]) -> Any:
    """Summed loss of each row's answer, alone and unpadded."""
    return torch.stack(
        [
            functional.cross_entropy(
                model(torch.tensor([row["input_ids"]])).logits[0, :-1],
                torch.tensor(row["labels"][1:]),
                reduction="sum",
            )
            for row in rows
        ]
    )


def gradient(model: Any, rows: list[dict[str, Any]]) -> Any:
    """Of the mean loss a token, as one vector."""
    total = row_losses(model, rows).sum() / (lengths(rows) - 1).sum()
    return torch.cat([part.flatten() for part in torch.autograd.grad(total, list(model.parameters()))])


def stepped(context: Context, draws: list[Draw], name: str | None, longest: float) -> Any:
    """A copy of the model after its steps."""
    model = deepcopy(context.model)
    parameters = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    length = 0.3 * RATE * len(parameters) ** 0.5
    for draw in draws:
        along = gradient(model, [context.rows[int(row)] for row in draw.rows])
        if name is not None:
            along = along + gradient(model, [context.steering.rows[int(row)] for row in draw.held_out[name]])
        parameters = parameters - length / max(longest, float(along.norm())) * along
        torch.nn.utils.vector_to_parameters(parameters, model.parameters())
    return model


def test_gains_are_those_of_copies_that_step_by_themselves(context: Context) -> None:
    draws, sample = drawn(), np.array([1, 5, 13, 19])
    train = gradient(context.model, [context.rows[int(row)] for row in draws[0].rows])
    firsts = [train]
    for name in context.target:
        held_out = [context.steering.rows[int(row)] for row in draws[0].held_out[name]]
        firsts.append(train + gradient(context.model, held_out))
    longest = max(float(first.norm()) for first in firsts)
    with torch.no_grad():
        models = _models(context, draws, longest)
        rows = [context.rows[int(row)] for row in sample]
        found = measure_gains(context, sample, draws)
        blind = models.pop(None)
        for index, (name, model) in enumerate(models.items()):
            expected = (row_losses(blind, rows) - row_losses(model, rows)) / torch.tensor(lengths(rows) - 1)
            np.testing.assert_allclose(found.sample[index], expected, rtol=1e-3, atol=2e-6)
            assert np.abs(found.sample[index]).max() > 1e-3
            held = [context.steering.rows[row] for row in context.steering.sets[name]]
            expected = (row_losses(blind, held) - row_losses(model, held)) / torch.tensor(lengths(held) - 1)
            np.testing.assert_allclose(found.held_out[index], expected, rtol=1e-3, atol=2e-6)


def _models(context: Context, draws: list[Draw], longest: float) -> dict[Any, Any]:
    with torch.enable_grad():
        return {name: stepped(context, draws, name, longest) for name in (None, *context.target)}


def test_signals_are_ratios_of_gains_with_their_errors() -> None:
    sample = np.array([[0.2, 0.4, 0.1, 0.3, 0.5, np.nan], [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]])
    gains = Gains(sample, [np.array([0.5, 0.7, np.nan]), np.array([-1.0, 1.5, 0.1])])
    assert gains.dropped == 2
    found = gains.signals(np.array([0, 0, 1, 1, 1, 1]), 2)
    np.testing.assert_allclose(found["copy_gain"], [[0.3, 1.0], [0.3, 1.75]])
    # The second set's loss fell by less than two standard errors.
    np.testing.assert_allclose(found["transfer"], [[0.5, np.nan], [0.5, np.nan]])
    errors = [0.1, 0.2 / 3**0.5]
    np.testing.assert_allclose(found["transfer_variance"][:, 0], [(error / 0.6) ** 2 for error in errors])
    assert np.isnan(found["transfer_variance"][:, 1]).all()


def test_a_single_row_has_no_error() -> None:
    gains = Gains(np.array([[0.2, 0.1, 0.3]]), [np.array([0.5, 0.7])])
    found = gains.signals(np.array([0, 1, 1]), 2)
    assert np.isfinite(found["transfer"]).all()
    assert np.isnan(found["transfer_variance"]).tolist() == [[True], [False]]
    alone = Gains(np.array([[0.2, 0.1]]), [np.array([0.5])])
    assert np.isnan(alone.signals(np.array([0, 0]), 1)["transfer"]).all()


def test_copies_leave_no_trace(context: Context) -> None:
    dropout = torch.nn.Dropout(0.5)
    context.model.add_module("dropout", dropout)
    context.model.train()
    context.model.model.embed_tokens.weight.requires_grad = False
    before = [parameter.detach().clone() for parameter in context.model.parameters()]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    source = Probes(NAMES, context)
    source.begin(0)
    found = source.measure(1)
    assert np.isfinite(found["copy_gain"]).all()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in context.model.modules())
    assert all(parameter.grad is None for parameter in context.model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, context.model.parameters(), strict=True))
    for name, values in source.measure(1).items():
        np.testing.assert_array_equal(values, found[name])
    assert (source.measure(2)["copy_gain"] != found["copy_gain"]).all()
    assert source.dropped == 0


def test_the_model_is_as_before_when_measuring_fails(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [parameter.detach().clone() for parameter in context.model.parameters()]
    context.model.train()

    def fail(*_: Any) -> Any:
        moved = zip(before, context.model.parameters(), strict=True)
        assert not all(torch.equal(old, new) for old, new in moved)
        raise KeyError

    monkeypatch.setattr(copies, "mean_losses", fail)
    with pytest.raises(KeyError):
        measure_gains(context, np.arange(4), drawn())
    assert all(torch.equal(old, new) for old, new in zip(before, context.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in context.model.parameters())
    assert all(module.training for module in context.model.modules())


def test_a_copy_that_is_not_finite_is_left_out_and_counted(context: Context) -> None:
    """The rows of the set `y` have no answer, so that a copy has nothing of it to learn."""
    rows = context.steering.rows.to_list()
    for row in rows[6:]:
        row["labels"] = [-100] * len(row["labels"])
    steering = replace(context.steering, rows=Dataset.from_list(rows))
    source = Probes(NAMES, replace(context, steering=steering))
    found = source.measure(1)
    assert np.isnan([found[name][:, 1] for name in NAMES]).all()
    assert np.isfinite(found["copy_gain"][:, 0]).all()
    assert source.dropped == 20 + 5
    with torch.no_grad():
        context.model.lm_head.weight.fill_(float("nan"))
    assert all(np.isnan(values).all() for values in Probes(NAMES, context).measure(1).values())


def test_rows_without_an_answer_are_left_out_alone(context: Context) -> None:
    rows = context.steering.rows.to_list()
    rows[6]["labels"] = [-100] * len(rows[6]["labels"])
    steering = replace(context.steering, rows=Dataset.from_list(rows))
    source = Probes(NAMES, replace(context, steering=steering))
    assert np.isfinite(source.measure(1)["copy_gain"]).all()
    assert source.dropped == 1


def test_steps_of_no_length_measure_nothing(context: Context) -> None:
    context.trainer.optimizer.param_groups[0]["lr"] = 0.0
    found = Probes(NAMES, context).measure(1)
    assert (found["copy_gain"] == 0).all()
    assert np.isnan(found["transfer"]).all()


def test_copies_train_on_what_the_run_draws(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all weight on the rows of one cell, rows of no other are fetched for a step."""
    source = Probes(NAMES, replace(context, shares=lambda: np.array([0, 1.0, 0, 0])))
    fetched: list[list[int]] = []

    def fetch(dataset: Any, rows: Any) -> Any:
        fetched.append(list(rows) if dataset is context.rows else [])
        return padding.fetch(dataset, rows)

    monkeypatch.setattr(copies, "fetch", fetch)
    source.measure(1)
    rows = [row for each in fetched for row in each]
    assert set(rows) <= set(range(6, 12))
    assert len(set(rows)) > 3
    assert sum(map(bool, fetched)) == 1 + 3 * (STEPS - 1)  # the first gradient is that of all three copies


def test_ranks_share_the_rows_of_each_step(context: Context) -> None:
    """Two ranks, as threads with a model each: what both find is the same to the bit, and what one process finds."""
    alone = Probes(NAMES, context).measure(1)
    barrier, parts = Barrier(2, timeout=60), [np.empty(0)] * 2

    def measure(rank: int) -> dict[str, Any]:
        def total(values: Any) -> Any:
            parts[rank] = values
            barrier.wait()
            both = parts[0] + parts[1]
            barrier.wait()
            return both

        trainer = SimpleNamespace(**{**vars(context.trainer), "model": models[rank]})
        ranks: Any = SimpleNamespace(rank=rank, size=2, sum=total)
        return Probes(NAMES, replace(context, trainer=trainer, ranks=ranks)).measure(1)

    models = [deepcopy(context.model) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(measure, range(2))
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], alone[name], rtol=1e-3, atol=1e-6)
