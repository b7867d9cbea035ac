"""Options of Axolotl: what is refused or gets a warning, each with its whole message; nothing without an `hbo:` block."""

import logging
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hbo_plugin import options
from hbo_plugin.args import HBOConfig
from hbo_plugin.data.notes import notes_on_duplicates
from hbo_plugin.input_args import HBOArgs
from hbo_plugin.signals.choice import choose

REFUSED = {
    "processor_type": ("AutoProcessor", "feeds images, which hbo cannot batch; remove it, or remove `hbo:`"),
    "sample_packing_sequentially": (
        True,
        "packs rows in the order of the data, while the weights choose another; remove it",
    ),
    "streaming": (True, "has no rows to draw by number; remove it, so that Axolotl prepares the datasets"),
    "pretraining_dataset": (
        [{"path": "x"}],
        "is streamed and has no rows to draw by number; list the data under `datasets:` with `type: completion`",
    ),
    "skip_prepare_dataset": (True, "leaves rows without tokens to count; remove it"),
    "curriculum_sampling": (
        True,
        "fixes the order of the rows; remove it, and set `hbo.levels` to balance by difficulty",
    ),
    "balance_labels": (True, "needs Axolotl's own sampler, which hbo replaces; remove it"),
    "diffusion": ({"eps": 0.001}, "has no next-token loss to measure; remove it, or remove `hbo:`"),
    "diffusion_lm": ({"noise_schedule": "cosine", "steps": 128}, "has no next-token loss to measure; remove it, or remove `hbo:`"),
    "auto_find_batch_size": (
        True,
        "changes the rows of a step during the run; remove it and lower `micro_batch_size`",
    ),
}  # fmt: skip


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as error:
        HBOArgs.model_validate({"hbo": {}, **data})
    return str(error.value.errors()[0]["msg"])


def warnings(caplog: pytest.LogCaptureFixture, cfg: dict[str, Any]) -> list[str]:
    with caplog.at_level(logging.WARNING, logger="hbo_plugin.options"):
        options.warn_of_changed(cfg)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("option", REFUSED)
def test_an_option_that_cannot_work_is_refused_with_what_to_do(option: str) -> None:
    value, reason = REFUSED[option]
    shown = {"pretraining_dataset": "", "diffusion": "", "diffusion_lm": ""}.get(
        option, f": {'true' if value is True else value}"
    )
    assert refusal({option: value}) == (
        f"Value error, `hbo:` cannot be combined with these options:\n`{option}{shown}` {reason}."
    )
    HBOArgs.model_validate({option: value})  # nothing without `hbo:`
    HBOArgs.model_validate({"hbo": {}, option: None})


def test_every_refused_option_is_tested() -> None:
    assert options._REFUSED.keys() == REFUSED.keys()


PARTS = "gives a rank a part of each sequence, while hbo looks at whole ones"


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("context_parallel_size", PARTS),
        ("sequence_parallel_degree", PARTS),
        ("expert_parallel_size", "was never tested with hbo"),
    ],
)
def test_parallelism_without_a_test_is_refused(key: str, reason: str) -> None:
    assert refusal({key: 2}) == (
        f"Value error, `hbo:` cannot be combined with these options:\n`{key}: 2` {reason}; set it to 1."
    )
    HBOArgs.model_validate({"hbo": {}, key: 1})


@pytest.mark.parametrize("option", ["deepspeed", "fsdp_config"])
def test_tensor_parallelism_is_refused_beside_another_way_to_share_a_model(option: str) -> None:
    data = {"tensor_parallel_size": 2, option: {"x": 1}}
    assert refusal(data) == (
        "Value error, `hbo:` cannot be combined with these options:\n"
        f"`tensor_parallel_size: 2` beside `{option}` was never tested with hbo; set it to 1, or remove `{option}`."
    )
    for key in data:
        HBOArgs.model_validate({"hbo": {}, **data, key: None})


@pytest.mark.parametrize("key", options._CHANGED_LOSS)
def test_signals_are_refused_where_the_loss_is_another(key: str) -> None:
    with pytest.raises(ValueError, match=rf"`{key}` changes the loss that is trained on, but the signals") as error:
        choose({key: True}, HBOConfig(), ["loss"], held_out=False, tied=False)
    assert str(error.value).endswith("remove it, or choose `method: static`, which needs none.")
    assert choose({key: True}, HBOConfig(), [], held_out=False, tied=False).names == {}


def test_a_loss_that_writes_over_the_logits_leaves_none() -> None:
    assert options.fused_loss({"liger_cross_entropy": True}) == "liger_cross_entropy: true"
    assert options.fused_loss({"liger_cross_entropy": True, "bf16": "auto"}) is None


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        *(
            (
                {key: True},
                f"`{key}: true` leaves no logits of a training batch, on whose gradients `hbo.row_weights` acts; remove it",
            )
            for key in (*options._FUSED_LOSS, "liger_cross_entropy")
        ),
        (
            {"torch_compile": True},
            "`torch_compile: true` hides the logits, on whose gradients `hbo.row_weights` acts; remove it",
        ),
        *(
            (
                {key: True},
                f"`{key}` changes the loss that is trained on, whose rows `hbo.row_weights` was never tested with; remove it",
            )
            for key in options._CHANGED_LOSS
        ),
        ({"tensor_parallel_size": 2}, "`tensor_parallel_size: 2` was never tested with `hbo.row_weights`; set it to 1"),
    ],
)
def test_where_rows_cannot_be_weighed(cfg: dict[str, Any], expected: str) -> None:
    assert options.without_row_weights(cfg) == f"{expected}, or remove `row_weights`."


@pytest.mark.parametrize(
    "cfg", [{}, {"tensor_parallel_size": 1}, {"liger_cross_entropy": True, "bf16": True}, {"deepspeed": "x"}]
)
def test_where_rows_can_be_weighed(cfg: dict[str, Any]) -> None:
    assert options.without_row_weights(cfg) is None


def test_a_schedule_that_begins_anew_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    (warning,) = warnings(caplog, {"save_only_model": True, "auto_resume_from_checkpoints": True})
    assert "begins its learning-rate schedule anew" in warning


@pytest.mark.parametrize("key", ["dispatch_batches", "split_batches"])
def test_batches_that_accelerate_shares_out_are_refused(key: str) -> None:
    assert refusal({"accelerator_config": {key: True}}) == (
        "Value error, `hbo:` cannot be combined with these options:\n"
        f"`accelerator_config.{key}: true` hands rank 0's rows to the other ranks, while each draws its own share; remove it."
    )
    HBOArgs.model_validate({"hbo": {}, "accelerator_config": {key: False}})


def test_rows_that_would_be_evaluated_nowhere_are_refused() -> None:
    tests = {"test_datasets": [{"path": "x"}]}
    assert refusal({"hbo": {"val_set_size": {"a": 12}}, **tests}) == (
        "Value error, `hbo:` cannot be combined with these options:\n`hbo.val_set_size` takes rows out of the training set, "
        "while `test_datasets` are what is evaluated; remove one of them."
    )
    HBOArgs.model_validate({"hbo": {}, **tests})
    HBOArgs.model_validate({"hbo": {"val_set_size": {"a": 12}}})


def test_all_refusals_are_reported_together() -> None:
    message = refusal({"streaming": True, "rl": "kto", "accelerator_config": {"split_batches": True}})
    assert [line.split("`")[1] for line in message.splitlines()[1:]] == [
        "streaming: true",
        "rl: kto",
        "accelerator_config.split_batches: true",
    ]


def test_an_image_model_is_not_asked_to_prepare_its_dataset() -> None:
    """Axolotl cannot train one without `skip_prepare_dataset`, so the advice to remove that line would mislead."""
    message = refusal({"skip_prepare_dataset": True, "processor_type": "AutoProcessor"})
    assert [line.split("`")[1] for line in message.splitlines()[1:]] == ["processor_type: AutoProcessor"]


def test_an_option_that_axolotl_made_of_another_is_not_named() -> None:
    message = refusal({"diffusion": {"eps": 0.001}, "diffusion_lm": {"eps": 0.001}})
    assert [line.split("`")[1] for line in message.splitlines()[1:]] == ["diffusion"]


def test_warnings(caplog: pytest.LogCaptureFixture) -> None:
    cfg = {
        "dataloader_num_workers": 4,
        "dataloader_prefetch_factor": 256,
        "sample_packing_bin_size": 100,
        "sample_packing_group_size": 200,
        "group_by_length": True,
        "datasets": [{"path": "a"}, {"path": "b", "weight": 0.5}],
    }
    assert warnings(caplog, cfg) == [
        "`dataloader_prefetch_factor: 256` becomes less, as its rows would follow past weights.",
        "`sample_packing_bin_size: 100` has no effect, because hbo packs the rows itself.",
        "`sample_packing_group_size: 200` has no effect, because hbo packs the rows itself.",
        "`group_by_length: true` has no effect, because the weights choose the rows.",
        (
            "`datasets[].weight: 0.5` of `b`: it keeps that share of the dataset's rows, chosen once before tokenising "
            "(Axolotl 0.19 ignores it, and so does `rl`), and is no mixing probability."
        ),
    ]


def test_no_warning_without_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(caplog, {"datasets": [{"path": "a"}], "group_by_length": False}) == []


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        ({}, None),
        ({"torch_compile": False}, None),
        ({"torch_compile": True}, None),
        ({"liger_fused_linear_cross_entropy": True}, "liger_fused_linear_cross_entropy: true"),
    ],
)
def test_which_option_leaves_no_logits(cfg: dict[str, Any], expected: str | None) -> None:
    assert options.fused_loss(cfg) == expected


@pytest.mark.parametrize(
    ("cfg", "option", "forward"),
    [
        ({}, None, True),
        ({"deepspeed": "zero3.json"}, "deepspeed", False),
        ({"fsdp_config": {"x": 1}, "fsdp_version": 2}, "fsdp_config", True),
        ({"fsdp": ["full_shard"], "fsdp_version": "1"}, "fsdp", False),
        ({"tensor_parallel_size": 2}, "tensor_parallel_size", True),
        ({"tensor_parallel_size": 1}, None, True),
    ],
)
def test_which_option_spreads_the_model(cfg: dict[str, Any], option: str | None, *, forward: bool) -> None:
    assert (options.sharded(cfg), options.ranks_can_run_forward(cfg)) == (option, forward)


@pytest.mark.axolotl
@pytest.mark.parametrize(
    ("lengths", "options_", "refused"),
    [
        ([169], {}, True),
        ([60, 60, 60], {}, False),  # a bin each
        ([60, 60, 40], {}, False),
        ([60, 40], {}, True),
        ([50] * 10, {}, False),
        ([169], {"attn_supports_packing": True}, False),  # one long bin, full or not
        ([169], {"flash_attention": True}, False),
        ([169], {"attn_supports_packing": True, "multipack_real_batches": True}, True),
        ([169], {"multipack_real_batches": False}, False),
        ([169], {"eval_batch_size": 1}, False),
        ([169], {"eval_sample_packing": False}, False),
    ],
)
def test_packed_held_out_rows_must_fill_a_batch_where_axolotl_drops_one_that_is_not_full(
    lengths: list[int], options_: dict[str, Any], *, refused: bool
) -> None:
    pytest.importorskip("axolotl")
    size = max(100, *lengths)
    cfg = {"eval_sample_packing": True, "micro_batch_size": 2, "sequence_len": size, **options_}
    if not refused:
        options.check_packed_evaluation(cfg, np.array(lengths, np.int32))
        return
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        options.check_packed_evaluation(cfg, np.array(lengths, np.int32))
    assert str(error.value) == (
        f"the held-out rows have {sum(lengths)} tokens and fill fewer than the 2 x {size} tokens of one packed batch of the "
        "evaluation: hold out more rows, or set `eval_sample_packing: false`."
    )


def test_duplicates_across_datasets_are_noted() -> None:
    cfg = {"dataset_exact_deduplication": True, "datasets": [{}, {}]}
    assert notes_on_duplicates(cfg) == [
        "duplicate rows were removed inside each dataset; a row that stands in two datasets stays in both"
    ]
    assert notes_on_duplicates({**cfg, "datasets": [{}]}) == notes_on_duplicates({}) == []
