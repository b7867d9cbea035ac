"""Cases: settings of Axolotl that people train with on a card; hbo measures something finite in each."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.gpu.runs import LORA, configured, train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.gpu.case import Case

EVERY, STEPS = 3, 8
QLORA: dict[str, Any] = {**LORA, "adapter": "qlora", "load_in_4bit": True}
UNPACKED: dict[str, Any] = {"sample_packing": False, "attn_implementation": "sdpa"}
LIGER = "axolotl.integrations.liger.LigerPlugin"
CUT = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"


@dataclass(frozen=True)
class Setting:
    """Attributes: keys of Axolotl, what else the `hbo:` block says, packages that it takes, and whether it takes a card."""

    changes: Mapping[str, Any]
    hbo: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    card: bool = True


PROBE, REUSE = {"signals": "probe"}, {"signals": "reuse"}
USUAL = {
    "packed, with held-out losses": Setting({"val_set_size": 8, "eval_steps": 4}, REUSE, card=False),
    "rows that are not packed": Setting(UNPACKED, REUSE, card=False),
    "sdpa, one bin a row": Setting({"attn_implementation": "sdpa"}, REUSE, card=False),
    "QLoRA with 4 bits, reuse": Setting(QLORA, REUSE, ("bitsandbytes",), card=False),
    "QLoRA with 4 bits, probes": Setting(QLORA, PROBE, ("bitsandbytes",), card=False),
    "re-entrant checkpointing, reuse": Setting(
        {**LORA, "gradient_checkpointing_kwargs": {"use_reentrant": True}}, REUSE, card=False
    ),
    "re-entrant checkpointing, probes": Setting(
        {**LORA, "gradient_checkpointing_kwargs": {"use_reentrant": True}}, PROBE, card=False
    ),
    "activation offloading, reuse": Setting({**LORA, "activation_offloading": True}, REUSE),
    "activation offloading, probes": Setting({**LORA, "activation_offloading": True}, PROBE),
}
KERNELS = {
    "LoRA kernels": Setting({**LORA, **{f"lora_{part}_kernel": True for part in ("qkv", "o", "mlp")}}),
    "Liger's fused linear cross entropy": Setting(
        {"plugins": [LIGER], "liger_fused_linear_cross_entropy": True}, REUSE, ("liger_kernel",)
    ),
    "Liger's cross entropy and layers": Setting(
        {"plugins": [LIGER], "liger_cross_entropy": True, "liger_rms_norm": True, "liger_glu_activation": True},
        REUSE,
        ("liger_kernel",),
    ),
    "cut cross entropy": Setting({"plugins": [CUT], "cut_cross_entropy": True}, REUSE, ("cut_cross_entropy",)),
    "flex attention": Setting({"attn_implementation": "flex_attention"}, REUSE),
    "flash attention": Setting({"attn_implementation": "flash_attention_2"}, REUSE, ("flash_attn",)),
    "torch.compile": Setting({**UNPACKED, "torch_compile": True}),
}


def usual(case: Case) -> None:
    """Adapters, checkpointing and batches."""
    _try(case, USUAL, "smollm2")


def kernels(case: Case) -> None:
    """Losses, attention and layers that are written for cards, and compiled models."""
    _try(case, KERNELS, "smollm2-4")  # to compile more layers takes minutes


def _try(case: Case, settings: Mapping[str, Setting], model: str) -> None:
    for name, setting in settings.items():
        missing = [package for package in setting.packages if find_spec(package) is None]
        if missing:
            case.skip(name, f"`{missing[0]}` is not installed")
        elif setting.card and case.device == "cpu":
            case.skip(name, "needs a card")
        else:
            with case.attempt(name):
                _run(case, name, configured_by(case, name, setting, model))


def configured_by(case: Case, name: str, setting: Setting, model: str) -> dict[str, Any]:
    """The configuration of a run of a model under a setting of this name."""
    block = {"update_every": EVERY, "levels": 2, "gradient_rows": 8, "forward_rows": 4, **setting.hbo}
    folder = f"{case.name}-{''.join(letter if letter.isalnum() else '-' for letter in name)}"
    return configured(case, folder, model, block, max_steps=STEPS, **setting.changes)


def _run(case: Case, name: str, config: dict[str, Any]) -> None:
    run = train(config)
    values, updates = np.array(run.signals()), sum("signals" in record for record in run.trace())
    known = np.isfinite(values)
    case.expect(
        f"{name}: trains, and every update measures something finite",
        holds=updates == (STEPS - 1) // EVERY and bool(known.any()) and bool(np.isfinite(run.losses).all()),
        signals=len(values),
        known_share=float(known.mean()) if len(values) else 0.0,
        step_ms=float(np.median(run.seconds[EVERY:])) * 1e3,
        peak_GB=run.peak / 1e9,
    )
