"""The plan: where each signal of the method comes from in this run, or a sentence on why it cannot come at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hbo_plugin.args import HBOConfig
from hbo_plugin.methods import SIGNALS
from hbo_plugin.signals import BY_GRADIENT, ON_HELD_OUT, REUSABLE

_FUSED = (
    "cut_cross_entropy",
    "liger_fused_linear_cross_entropy",
    "unsloth_cross_entropy_loss",
    "torch_compile",
)
"""Options of Axolotl under which a training batch's logits do not exist, or cannot be looked at."""
_SHARDED = ("deepspeed", "fsdp", "fsdp_config")
"""Options under which no rank holds the whole model."""


@dataclass(frozen=True)
class Plan:
    """Attributes: signals by where they come from, whether held-out losses are measured, and notes, a sentence each."""

    reused: tuple[str, ...]
    probed: tuple[str, ...]
    held_out: bool
    notes: tuple[str, ...] = ()


def plan(cfg: Any, config: HBOConfig, signals: Sequence[str], *, held_out: bool) -> Plan:
    """Decide for each signal of a method.

    Args:
        cfg: Axolotl's configuration.
        config: the `hbo:` block.
        signals: that the method needs.
        held_out: whether there are held-out rows.

    Raises:
        ValueError: a signal that is unknown, or that cannot be measured under this configuration.
    """
    for name in signals:
        if name not in SIGNALS:
            msg = f"the method `{config.method}` asks for the signal `{name}`; there are {', '.join(f'`{known}`' for known in SIGNALS)}."
            raise ValueError(msg)
    if not held_out and (without := [name for name in signals if name in ON_HELD_OUT]):
        msg = f"the method `{config.method}` needs held-out rows for `{without[0]}`: set `val_set_size` or `test_datasets`."
        raise ValueError(msg)
    wanted = "probe" if config.signals == "auto" and config.published else config.signals
    fused = [option for option in _FUSED if cfg.get(option)]
    notes = []
    if fused and wanted == "reuse":
        msg = (
            f"`{fused[0]}: {cfg[fused[0]]}` leaves no logits of a training batch, which `hbo.signals: reuse` looks at: "
            f"remove it, or set `signals: probe`."
        )
        raise ValueError(msg)
    if fused and wanted == "auto" and any(name in REUSABLE for name in signals):
        notes.append(f"`{fused[0]}` leaves no logits of a training batch, so that signals are measured by probes")
    reused = () if fused or wanted == "probe" else tuple(name for name in signals if name in REUSABLE)
    probed = tuple(name for name in signals if name not in reused)
    if probed and wanted == "reuse":
        msg = (
            f"`{probed[0]}`, which the method `{config.method}` needs, does not come from training batches "
            f"({', '.join(f'`{name}`' for name in REUSABLE)} do): set `hbo.signals: auto`."
        )
        raise ValueError(msg)
    sharded = next((option for option in _SHARDED if cfg.get(option)), None)
    # Under FSDP2, ranks can run the model forward together, which is tested; under the others nothing is.
    together = sharded is None or (sharded != "deepspeed" and str(cfg.get("fsdp_version")) == "2")
    if sharded and (wrong := [name for name in probed if not together or name in BY_GRADIENT]):
        msg = (
            f"`{sharded}` spreads the model over ranks, where no probe can measure `{wrong[0]}`: train with DDP, "
            f"or choose a method whose signals come from the training batches, with `hbo.signals: auto`."
        )
        raise ValueError(msg)
    if held_out and not together:
        notes.append(
            f"`{sharded}` spreads the model over ranks, where the held-out losses of the datasets are not measured; "
            f"with DDP, or FSDP under `fsdp_version: 2`, they are"
        )
    if "gradient_norm" in reused:
        notes.append(
            "`gradient_norm` is that of the loss at the logits, in closed form; `signals: probe` measures the whole"
        )
    return Plan(reused, probed, held_out and together, tuple(notes))
