"""Needs: whether what measuring a signal takes is there under a configuration, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hbo_plugin import options

if TYPE_CHECKING:
    from hbo_plugin.signals.table import Need


def blocked(cfg: Any, need: Need, *, held_out: bool, tied: bool, probed: bool) -> str | None:
    """Why a need cannot be met under this configuration, and what to do; None where it can.

    Args:
        cfg: Axolotl's configuration.
        need: of a signal.
        held_out: whether there are held-out rows.
        tied: whether a held-out set belongs to a dataset.
        probed: whether passes of their own would give the signal too.
    """
    rows = {
        "held_out": (held_out, "there are no held-out rows; set `val_set_size` or `test_datasets`"),
        "tied": (
            tied,
            "no held-out set belongs to a dataset; give one the name of its dataset, or set `hbo.held_out: {dataset: set}`",
        ),
    }
    if need in rows:
        there, reason = rows[need]
        return None if there else reason
    if need == "predictions":
        hidden = options.without_predictions(cfg)
        other = ", or set `hbo.signals: probe`" if probed else ""
        return hidden and hidden + other
    if need == "layers":
        hidden = options.without_layers(cfg)
        return hidden and f"`{hidden}` keeps the trained layers out of sight; turn it off, or set `hbo.signals: probe`"
    if need == "adapter":
        return options.without_twin(cfg)
    if need == "steps":
        return options.without_branches(cfg)
    return _no_pass(cfg, need)


def without_influence(cfg: Any, *, held_out: bool) -> str | None:
    """Why the influence of rows on held-out ones cannot be measured, and what to do; None where it can."""
    reasons = (blocked(cfg, need, held_out=held_out, tied=True, probed=False) for need in ("held_out", "backward"))
    return next(filter(None, reasons), None)


def _no_pass(cfg: Any, need: Need) -> str | None:
    """Why hbo cannot run a pass of its own."""
    sharded = options.sharded(cfg)
    # What copies take is a backward pass, which is a need of its own.
    if sharded is None or need == "copies" or (need == "forward" and options.ranks_can_run_forward(cfg)):
        return None
    return (
        f"`{sharded}` spreads the model over ranks, where hbo cannot run a {need} pass of its own; train with DDP, "
        f"or choose a method whose signals come from the training batches"
    )
