"""Axolotl's options: which work with hbo, which are refused and which get a warning. Nothing else decides this."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin import compat, kinds

LOG = logging.getLogger(__name__)

_REFUSED = {
    "processor_type": "feeds images, which hbo cannot batch; remove it, or remove `hbo:`",
    "sample_packing_sequentially": "packs rows in the order of the data, while the weights choose another; remove it",
    "streaming": "has no rows to draw by number; remove it, so that Axolotl prepares the datasets",
    "pretraining_dataset": "is streamed and has no rows to draw by number; list the data under `datasets:` with `type: completion`",
    "skip_prepare_dataset": "leaves rows without tokens to count; remove it",
    "curriculum_sampling": "fixes the order of the rows; remove it, and set `hbo.levels` to balance by difficulty",
    "balance_labels": "needs Axolotl's own sampler, which hbo replaces; remove it",
    "diffusion": "has no next-token loss to measure; remove it, or remove `hbo:`",
    "diffusion_lm": "has no next-token loss to measure; remove it, or remove `hbo:`",
    "auto_find_batch_size": "changes the rows of a step during the run; remove it and lower `micro_batch_size`",
}
"""Options that cannot work with a mixture that moves: why not, and what to do."""
_REFUSED_OF_ACCELERATE = ("dispatch_batches", "split_batches")
_PARALLEL = {
    "context_parallel_size": "gives a rank a part of each sequence, while hbo looks at whole ones",
    "sequence_parallel_degree": "gives a rank a part of each sequence, while hbo looks at whole ones",
    "expert_parallel_size": "was never tested with hbo",
}
"""Sizes that must not be above 1, and why."""
_CHANGED_LOSS = ("use_dft", "use_eaft", "kd_trainer")
"""Options under which the loss that is trained on is not that of the next token, which signals measure."""

_FUSED_LOSS = ("cut_cross_entropy", "liger_fused_linear_cross_entropy", "unsloth_cross_entropy_loss")
"""Options under which a training batch leaves no logits."""
_HIDDEN_PAIRS = ("dpo_use_liger_kernel", "dpo_ld_alpha")
"""Options under which DPO sums no log-probabilities of answers that hbo could look at."""
_COMPILED = "torch_compile"
_FUSED_LAYERS = ("lora_qkv_kernel", "lora_o_kernel", "lora_mlp_kernel", "lora_embedding_kernel", _COMPILED)
"""Options under which a training batch goes past the layers that are trained, as hooks see it."""
_IN_TURN = ("lisa_n_layers", "relora")
"""Options under which other parameters are trained from time to time."""
_SHARDED = ("deepspeed", "fsdp", "fsdp_config")
"""Options under which no rank holds the whole model."""
_TENSOR = "tensor_parallel_size"
"""Above 1, so many processes are one rank and share its model; see `Ranks`."""
_PACKING_ATTENTION = ("attn_supports_packing", "flash_attention", "flex_attention", "xformers_attention")
"""Set by Axolotl 0.21, or by the user of an older one, where attention tells the rows of one long bin apart."""


def refuse_incompatible(data: Mapping[str, Any]) -> None:
    """Refuse what cannot be combined with `hbo:`, all of it at once.

    Args:
        data: Axolotl's configuration, as a mapping.

    Raises:
        ValueError: names every such option, why it cannot work, and what to change.
    """
    found = {key: data[key] for key in _REFUSED if data.get(key)}
    if "processor_type" in found:  # without which Axolotl cannot train on images
        found.pop("skip_prepare_dataset", None)
    if "diffusion" in found:  # of which newer versions of Axolotl make the other
        found.pop("diffusion_lm", None)
    wrong = [f"`{_written(key, value)}` {_REFUSED[key]}." for key, value in found.items()]
    wrong += filter(None, [kinds.refusal(data)])
    accelerator = data.get("accelerator_config") or {}
    wrong += [
        f"`accelerator_config.{key}: true` hands rank 0's rows to the other ranks, while each draws its own share; remove it."
        for key in _REFUSED_OF_ACCELERATE
        if accelerator.get(key)
    ]
    wrong += [f"`{key}: {data[key]}` {why}; set it to 1." for key, why in _PARALLEL.items() if _above_one(data, key)]
    if _above_one(data, _TENSOR) and (option := sharded({**data, _TENSOR: 1})):
        wrong.append(
            f"`{_TENSOR}: {data[_TENSOR]}` beside `{option}` was never tested with hbo; set it to 1, or remove `{option}`."
        )
    if data.get("test_datasets") and isinstance(data["hbo"], Mapping) and data["hbo"].get("val_set_size"):
        wrong.append(
            "`hbo.val_set_size` takes rows out of the training set, while `test_datasets` are what is evaluated; "
            "remove one of them."
        )
    if wrong:
        raise ValueError("\n".join(["`hbo:` cannot be combined with these options:", *wrong]))


def warn_of_changed(cfg: Mapping[str, Any]) -> None:
    """Warn of options that the user wrote and that mean something else, or nothing, beside `hbo:`."""
    if cfg.get("dataloader_num_workers") and (factor := cfg.get("dataloader_prefetch_factor")):
        LOG.warning("`dataloader_prefetch_factor: %s` becomes less, as its rows would follow past weights.", factor)
    for key in ("sample_packing_bin_size", "sample_packing_group_size"):
        if cfg.get(key) is not None:
            LOG.warning("`%s` has no effect, because hbo packs the rows itself.", _written(key, cfg[key]))
    if cfg.get("group_by_length"):
        LOG.warning("`group_by_length: true` has no effect, because the weights choose the rows.")
    if cfg.get("save_only_model") and (cfg.get("resume_from_checkpoint") or cfg.get("auto_resume_from_checkpoints")):
        LOG.warning(
            "`save_only_model: true` keeps no optimizer, so a resumed run begins its learning-rate schedule anew, "
            "warm-up included."
        )
    for entry in cfg.get("datasets") or []:
        if entry.get("weight") is not None:
            LOG.warning(
                "`datasets[].weight: %s` of `%s`: it keeps that share of the dataset's rows, chosen once before tokenising "
                "(Axolotl 0.19 ignores it, and so does `rl`), and is no mixing probability.",
                *(entry["weight"], entry.get("path")),
            )


def check_packed_evaluation(cfg: Mapping[str, Any], lengths: NDArray[np.int32]) -> None:
    """Refuse packed held-out rows that fill no batch: Axolotl drops a batch that is not full, and would evaluate on none.

    Args:
        cfg: Axolotl's configuration.
        lengths: tokens of each held-out row, int32[rows].

    Raises:
        ValueError: there are too few.
    """
    if not (cfg.get("eval_sample_packing") and one_bin_a_row(cfg)):
        return  # where attention tells packed rows apart, a batch is one long bin, full or not
    bins, tokens = cfg.get("eval_batch_size") or cfg["micro_batch_size"], int(cfg["sequence_len"])
    if lengths.sum() <= (bins - 1) * tokens and compat.fits_in_bins(lengths, tokens, bins - 1):
        msg = (
            f"the held-out rows have {lengths.sum()} tokens and fill fewer than the {bins} x {tokens} tokens "
            f"of one packed batch of the evaluation: hold out more rows, or set `eval_sample_packing: false`."
        )
        raise ValueError(msg)


def check_watching(cfg: Mapping[str, Any]) -> None:
    """Refuse `max_epochs: auto` where held-out losses cannot be measured, or say nothing about the training.

    Raises:
        ValueError: names the option in the way.
    """
    if changed := changed_loss(cfg):
        why = f"`{changed}` changes the loss that is trained on, of which the next-token loss says little; remove it"
    elif not ranks_can_run_forward(cfg):
        why = f"`{sharded(cfg)}` spreads the model over ranks, where hbo cannot run forward passes of its own; use DDP or FSDP2"
    else:
        return
    msg = f"`hbo.max_epochs: auto` looks at held-out losses, but {why}, or give a number."
    raise ValueError(msg)


def one_bin_a_row(cfg: Mapping[str, Any]) -> bool:
    """Whether a packed batch has a bin for each row of its tensor, as attention needs that cannot tell rows of one apart."""
    asked = cfg.get("multipack_real_batches")
    return not any(cfg.get(key) for key in _PACKING_ATTENTION) if asked is None else bool(asked)


def fused_loss(cfg: Mapping[str, Any]) -> str | None:
    """The option under which training batches leave no logits, as in `cut_cross_entropy: true`; None if none is."""
    # It writes the gradient over logits of 32 bits, and over a copy of others.
    overwritten = ("liger_cross_entropy",) if not (cfg.get("bf16") or cfg.get("fp16")) else ()
    return next((_written(key, cfg[key]) for key in (*_FUSED_LOSS, *overwritten) if cfg.get(key)), None)


def without_predictions(cfg: Mapping[str, Any]) -> str | None:
    """Why the predictions for a training batch cannot be looked at, and what to do; None where they can."""
    fused, compiled, why = fused_loss(cfg), cfg.get(_COMPILED), None
    if compiled:
        why = f"`{_written(_COMPILED, compiled)}` hides the states that they come from; remove one of them"
    elif not (ranks_can_run_forward(cfg) or cfg.get("deepspeed")):
        why = f"hbo was never tested under FSDP1, which `{sharded(cfg)}` asks for; set `fsdp_version: 2`"
    return f"`{fused}` leaves no logits of a training batch, and {why}" if fused and why else None


def without_pairs(cfg: Mapping[str, Any]) -> str | None:
    """Why the margins of pairs cannot be looked at, and what to do; None where they can."""
    found = [key for key in _HIDDEN_PAIRS if cfg.get(key) is not None and cfg[key] is not False]
    why = "keeps the log-probabilities of answers out of sight; remove it"
    return f"`{_written(found[0], cfg[found[0]])}` {why}" if found else None


def without_layers(cfg: Mapping[str, Any]) -> str | None:
    """The option under which the trained layers cannot be watched, as in `lora_mlp_kernel: true`; None if none is."""
    fused = next((_written(key, cfg[key]) for key in _FUSED_LAYERS if cfg.get(key)), None)
    return fused or (_written(_TENSOR, cfg[_TENSOR]) if _above_one(cfg, _TENSOR) else None)


def without_twin(cfg: Mapping[str, Any]) -> str | None:
    """Why no second copy of what is trained can be trained beside it, and what to do; None where one can."""
    moving = next((_written(key, cfg[key]) for key in _IN_TURN if cfg.get(key)), None)
    if moving:
        why, what = f"`{moving}` changes what is trained every few steps, which a twin cannot follow", "remove it"
    elif cfg.get("fp16"):
        why, what = "`fp16: true` scales the loss, which a twin does not", "set `bf16: true`"
    elif not cfg.get("adapter"):
        why = "a twin has a copy of all that is trained with its optimizer state, and here that is the whole model"
        what = "set `adapter: lora`"
    else:
        return None
    return f"{why}; {what}, or choose `method: tandem`, which keeps no copy"


def without_branches(cfg: Mapping[str, Any]) -> str | None:
    """Why no branches of the run can be trained, and what to do; None where they can."""
    if not cfg.get("deepspeed"):
        return None
    return (
        "`deepspeed` keeps the optimizer's state to itself, where branches cannot put it back; train with DDP or FSDP2"
    )


def without_row_weights(cfg: Mapping[str, Any]) -> str | None:
    """Why the gradients of rows cannot be weighed, and what to do, in a sentence; None where they can."""
    if hidden := fused_loss(cfg):
        why = f"`{hidden}` leaves no logits of a training batch, on whose gradients `hbo.row_weights` acts; remove it"
    elif cfg.get(_COMPILED):
        why = f"`{_written(_COMPILED, cfg[_COMPILED])}` hides the logits, on whose gradients `hbo.row_weights` acts; remove it"
    elif changed := changed_loss(cfg):
        why = f"`{changed}` changes the loss that is trained on, whose rows `hbo.row_weights` was never tested with; remove it"
    elif _above_one(cfg, _TENSOR):
        why = f"`{_TENSOR}: {cfg[_TENSOR]}` was never tested with `hbo.row_weights`; set it to 1"
    else:
        return None
    return f"{why}, or remove `row_weights`."


def changed_loss(cfg: Mapping[str, Any]) -> str | None:
    """The option under which the model is not trained on its next-token loss; None if none is."""
    return next((key for key in _CHANGED_LOSS if cfg.get(key)), None)


def sharded(cfg: Mapping[str, Any]) -> str | None:
    """The option that spreads the model over ranks; None where each rank holds all of it."""
    return next((key for key in _SHARDED if cfg.get(key)), _TENSOR if _above_one(cfg, _TENSOR) else None)


def ranks_can_run_forward(cfg: Mapping[str, Any]) -> bool:
    """Whether hbo can run the model in passes of its own: of the ways to shard it, DeepSpeed and FSDP1 are not tested."""
    fsdp2 = str(cfg.get("fsdp_version")) == "2" and not cfg.get("deepspeed")
    return fsdp2 or sharded(cfg) in (None, _TENSOR)


def _above_one(cfg: Mapping[str, Any], key: str) -> bool:
    return (cfg.get(key) or 1) > 1


def _written(key: str, value: object) -> str:
    """An option as it stands in the YAML; of a block or a list, the key alone."""
    if isinstance(value, Mapping | list):
        return key
    return f"{key}: {str(value).lower() if isinstance(value, bool) else value}"
