"""Sources: which one measures what in a run, what is refused, and how ranks share a pass."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.signals.choice import SOURCES, Choice, choose
from hbo_plugin.signals.table import SIGNALS

FUSED = {"liger_fused_linear_cross_entropy": True}
HIDDEN = {**FUSED, "torch_compile": True}
NO_LOGITS = (
    "`liger_fused_linear_cross_entropy: true` leaves no logits of a training batch, and `torch_compile: true` hides the "
    "states that they come from; remove one of them"
)
FSDP2 = {"fsdp_config": {"offload_params": False}, "fsdp_version": 2}


def chosen(cfg: dict[str, Any], *signals: str, held_out: bool = False, tied: bool = False, **keys: Any) -> Choice:
    """The choice for these signals under Axolotl's options and the keys of the `hbo:` block."""
    return choose(cfg, HBOConfig(**keys), signals, held_out=held_out, tied=tied)


def refused(cfg: dict[str, Any], *signals: str, **keys: Any) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        chosen(cfg, *signals, **keys)
    return str(error.value)


@pytest.mark.parametrize("module", ["signals", "signals.table", "signals.choice"])
def test_reading_about_signals_imports_nothing_heavy(module: str) -> None:
    """Methods read the table, and sources are chosen before there is a model: neither may wait for torch."""
    code = f"import sys, hbo_plugin.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert f"hbo_plugin.{module}" in loaded
    assert not {"axolotl", "pydantic", "torch", "transformers"} & loaded


def test_every_source_of_the_table_is_built_for_its_signals() -> None:
    pytest.importorskip("torch")
    from hbo_plugin.signals.context import Context

    names = {source: tuple(name for name, signal in SIGNALS.items() if source in signal.sources) for source in SOURCES}
    assert set(SIGNALS) == {name for of_source in names.values() for name in of_source}
    cells = Cells(("a",), np.array([[2]]), np.ones(2, np.int32), np.ones(2, np.int32), ("",))
    sources = Choice(names, passes=True).build(Context(None, cells))
    assert {source: type(built).__name__ for source, built in sources.items()} == {
        "reuse": "Reuse",
        "probe": "Probes",
        "held_out": "HeldOut",
        "branches": "Branches",
        "twin": "Twin",
        "rollouts": "Rollouts",
        "pairs": "Pairs",
    }


def test_training_batches_come_first() -> None:
    assert chosen({}, "gradient_norm", "perplexity_ratio") == Choice(
        {"reuse": ("gradient_norm", "perplexity_ratio")}, passes=True
    )
    assert chosen({}, "loss", "similarity", held_out=True) == Choice(
        {"reuse": ("loss",), "probe": ("similarity",)}, passes=True
    )


def test_losses_are_looked_at_wherever_training_batches_show_them() -> None:
    assert chosen({}, held_out=True) == Choice({"reuse": ()}, passes=True)
    assert chosen({}, "similarity") == Choice({"probe": ("similarity",), "reuse": ()}, passes=True)
    assert chosen(FUSED) == Choice({"reuse": ()}, passes=True, logits=False)
    assert chosen({"torch_compile": True}) == Choice({"reuse": ()}, passes=True, layers=False)
    assert chosen({"kd_trainer": True}) == Choice({}, passes=True)
    assert chosen(HIDDEN) == Choice({}, passes=True, layers=False, logits=False)
    assert chosen({}, signals="probe") == Choice({}, passes=True)
    assert [chosen({}, *signals).adapts for signals in ((), ("similarity",))] == [False, True]


def test_passes_serve_where_a_user_or_a_fused_loss_asks_for_them() -> None:
    asked = chosen({}, "loss", "held_out_loss", held_out=True, tied=True, signals="probe", target=["a"])
    assert asked == Choice({"probe": ("loss",), "held_out": ("held_out_loss",)}, passes=True)
    assert chosen(FUSED, "loss", "gradient_norm").names == {"reuse": ("loss", "gradient_norm")}
    hidden = chosen(HIDDEN, "loss", "look_ahead")
    note = f"`loss` comes from passes over a sample of rows, because {NO_LOGITS}, or set `hbo.signals: probe`"
    names = {"probe": ("loss", "look_ahead")}
    assert hidden == Choice(names, passes=True, notes=(note,), layers=False, logits=False)


def test_a_fused_loss_of_a_model_without_passes_leaves_nothing_to_look_at() -> None:
    for sharding in (FSDP2, {"deepspeed": "zero3.json"}):
        assert chosen({**FUSED, **sharding}, "loss").names == {"reuse": ("loss",)}
    assert refused({**FUSED, "fsdp": ["full_shard"]}, "loss") == (
        "`loss`, which the method `hbo` needs, cannot be measured here: `liger_fused_linear_cross_entropy: true` leaves no "
        "logits of a training batch, and hbo was never tested under FSDP1, which `fsdp` asks for; set `fsdp_version: 2`, or set "
        "`hbo.signals: probe`; `fsdp` spreads the model over ranks, where hbo cannot run a forward pass of its own; train with "
        "DDP, or choose a method whose signals come from the training batches."
    )


def test_a_note_says_that_a_target_is_what_held_out_rows_are_for() -> None:
    (note,) = chosen({}, "held_out_loss", held_out=True, tied=True).notes
    assert note == (
        "the method `hbo` looks at held-out rows, of which all sets count alike: then little is to be gained over a good "
        "`method: static`; name in `hbo.target` what the run should be good at"
    )
    assert chosen({}, "held_out_loss", held_out=True, tied=True, target=["a"]).notes == ()


def test_gradients_need_passes_where_kernels_hide_the_layers() -> None:
    kernels = chosen({"lora_qkv_kernel": False, "lora_mlp_kernel": True}, "gradient_norm", "loss")
    note = (
        "`gradient_norm` comes from passes over a sample of rows, because `lora_mlp_kernel: true` keeps the trained layers "
        "out of sight; turn it off, or set `hbo.signals: probe`"
    )
    names = {"probe": ("gradient_norm",), "reuse": ("loss",)}
    assert kernels == Choice(names, passes=True, notes=(note,), layers=False)


def test_signals_of_a_sharded_model_come_from_its_batches() -> None:
    signals = ("gradient_norm", "perplexity_ratio")
    assert chosen(FSDP2, *signals, held_out=True) == Choice({"reuse": signals}, passes=True)
    assert chosen({"deepspeed": "zero3.json"}, *signals, held_out=True) == Choice({"reuse": signals}, passes=False)
    for cfg in (FSDP2, {"tensor_parallel_size": 2}):
        assert chosen(cfg, "similarity").names == {"probe": ("similarity",), "reuse": ()}


@pytest.mark.parametrize(
    ("cfg", "signal", "kind"),
    [
        ({"deepspeed": "zero1.json"}, "similarity", "forward"),
        ({"fsdp_config": {"offload_params": False}}, "similarity", "forward"),
        (FSDP2, "look_ahead", "backward"),
        ({"tensor_parallel_size": 2}, "look_ahead", "backward"),
    ],
)
def test_what_no_source_can_measure_is_refused(cfg: dict[str, Any], signal: str, kind: str) -> None:
    option = next(iter(cfg))
    assert refused(cfg, signal) == (
        f"`{signal}`, which the method `hbo` needs, cannot be measured here: `{option}` spreads the model over ranks, where "
        f"hbo cannot run a {kind} pass of its own; train with DDP, or choose a method whose signals come from the training "
        "batches."
    )


def test_held_out_signals_need_held_out_rows() -> None:
    assert refused({}, "held_out_loss") == (
        "`held_out_loss`, which the method `hbo` needs, cannot be measured here: there are no held-out rows; set "
        "`val_set_size` or `test_datasets`."
    )
    assert refused({}, "held_out_loss", held_out=True) == (
        "`held_out_loss`, which the method `hbo` needs, cannot be measured here: no held-out set belongs to a dataset; "
        "give one the name of its dataset, or set `hbo.held_out: {dataset: set}`."
    )


LORA = {"adapter": "lora"}
BESIDE = "`twin_gap`, which the method `scalebio` needs, cannot be measured here: "


def test_a_twin_is_trained_beside_an_adapter() -> None:
    found = chosen(LORA, "twin_gap", held_out=True, method="scalebio", target=["a"])
    assert found == Choice({"twin": ("twin_gap",), "reuse": ()}, passes=True)
    assert found.steers


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        (
            {},
            (
                "a twin has a copy of all that is trained with its optimizer state, and here that is the whole model; "
                "set `adapter: lora`, or choose `method: tandem`, which keeps no copy."
            ),
        ),
        (
            {"lisa_n_layers": 2},
            (
                "`lisa_n_layers: 2` changes what is trained every few steps, which a twin cannot follow; remove it, "
                "or choose `method: tandem`, which keeps no copy."
            ),
        ),
        (
            {**LORA, "relora": True},
            (
                "`relora: true` changes what is trained every few steps, which a twin cannot follow; remove it, "
                "or choose `method: tandem`, which keeps no copy."
            ),
        ),
        (
            {**LORA, **HIDDEN},
            f"{NO_LOGITS}.",
        ),
        (
            {**LORA, **FSDP2},
            (
                "`fsdp_config` spreads the model over ranks, where hbo cannot run a backward pass of its own; train with DDP, "
                "or choose a method whose signals come from the training batches."
            ),
        ),
    ],
)
def test_a_twin_is_refused_where_it_cannot_be(cfg: dict[str, Any], reason: str) -> None:
    assert refused(cfg, "twin_gap", held_out=True, method="scalebio") == BESIDE + reason


def test_reuse_alone_is_refused_where_it_cannot_be() -> None:
    assert refused({}, "loss", "look_ahead", signals="reuse") == (
        "`hbo.signals: reuse` was given, but `look_ahead`, which the method `hbo` needs, does not come from training batches "
        "(`gradient_norm`, `gradient_variance`, `loss`, `perplexity_ratio`, `entropy`, `pair_loss`, `margin`, `reward`, `reward_variance`, `advantage`, `no_variance` do); set `signals: auto`."
    )
    assert refused(HIDDEN, "loss", signals="reuse") == (
        f"`loss`, which the method `hbo` needs, cannot be measured here: {NO_LOGITS}, or set `hbo.signals: probe`."
    )


def test_pairs_have_signals_of_their_own() -> None:
    for cfg in ({"rl": "dpo"}, {"rl": "simpo", "deepspeed": "zero3.json"}, {"reward_model": True}):
        for signals in ("auto", "reuse", "probe"):
            found = chosen(cfg, "pair_loss", "margin", signals=signals)
            assert found.names == {"pairs": ("pair_loss", "margin")}
            (note,) = found.notes
            assert note == (
                "the method `hbo` follows `pair_loss`, `margin`, where a pair whose label is wrong looks like one that is hard: a "
                "dataset with noisy labels moves the weights as a hard one does"
            )
        assert chosen(cfg).names == {"pairs": ()}
        assert chosen(cfg, signals="probe").names == {}
    assert chosen({"process_reward_model": True}).names == {}


def test_a_signal_that_a_kind_of_training_has_not_is_refused() -> None:
    for signal in ("gradient_norm", "held_out_loss", "branch_effect"):
        assert refused({"rl": "ipo"}, signal, held_out=True) == (
            f"`{signal}`, which the method `hbo` needs, cannot be measured here: with `rl: ipo` hbo measures `pair_loss`, "
            "`margin` and nothing else; set `hbo.reward: {global: pair_loss, local: pair_loss}` with `method: hbo`, or `method: static`."
        )
    assert refused({}, "margin") == (
        "`margin`, which the method `hbo` needs, cannot be measured here: rows of supervised fine-tuning are no pairs; name "
        "another signal."
    )


@pytest.mark.parametrize(("option", "value"), [("dpo_use_liger_kernel", True), ("dpo_ld_alpha", 0.0)])
def test_margins_out_of_sight_are_refused(option: str, value: object) -> None:
    cfg = {"rl": "dpo", option: value}
    assert chosen(cfg).names == {}
    assert refused(cfg, "margin") == (
        f"`margin`, which the method `hbo` needs, cannot be measured here: `{option}: {str(value).lower()}` keeps the "
        "log-probabilities of answers out of sight; remove it."
    )
    assert chosen({"rl": "dpo", "dpo_use_liger_kernel": False}).names == {"pairs": ()}


def test_an_unknown_signal_is_refused() -> None:
    message = refused({}, "los")
    assert message.startswith("The method `hbo` asks for the signal `los`, but the signals are `gradient_norm`, ")
    assert message.endswith("`no_variance`; name one of them.")


def test_ranks_share_a_pass_and_run_the_model_as_often(tiny_model: Path) -> None:
    """A sharded model needs the same number of passes on every rank; what ranks sum is what one process measures."""
    pytest.importorskip("torch")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from hbo_plugin.ranks import Ranks
    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.passes import pass_over

    rows = [{"input_ids": list(range(4, 9 + index)), "labels": list(range(4, 9 + index))} for index in range(9)]
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    trainer = SimpleNamespace(
        model=AutoModelForCausalLM.from_pretrained(tiny_model),
        args=SimpleNamespace(per_device_train_batch_size=2),
        compute_loss_context_manager=nullcontext,
    )
    passes: list[int] = []
    trainer.model.register_forward_hook(lambda *_: passes.append(1))
    parts: list[Any] = []

    def reduce(part: Any, reduction: str) -> Any:
        assert reduction == "sum"
        parts.append(part)
        return part

    def run(rank: int, ranks: int) -> tuple[int, Any]:
        accelerator = SimpleNamespace(device="cpu", reduce=reduce)
        context = Context(
            trainer,
            Cells(("a", "b"), np.array([[5], [4]]), lengths, lengths, ("", "")),
            Ranks(rank, ranks, accelerator),
        )
        passes.clear()
        passed = pass_over(context, Dataset.from_list(rows), np.arange(9), lengths, ("loss",))
        return len(passes), np.stack([passed.sums[0], passed.tokens])

    times, alone = run(0, 1)
    assert times % 3
    assert [run(rank, 3)[0] for rank in range(3)] == [-(-times // 3)] * 3
    assert all(0 < part[1].count_nonzero() < 9 for part in parts)
    np.testing.assert_array_equal(sum(part.numpy() for part in parts), alone)
