"""Needs: whether what measuring a signal takes is there under a configuration, and what to do where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hbo_plugin import kinds, options
from hbo_plugin.messages import listed
from hbo_plugin.signals.table import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.signals.table import Need


_ELSEWHERE = {
    "pairs": "rows of supervised fine-tuning are no pairs",
    "rollouts": "nothing is generated in supervised fine-tuning that could have a reward",
}
"""What other kinds of training show of their batches, and why supervised fine-tuning does not."""


def blocked(cfg: Any, need: Need, *, held_out: bool, tied: bool, probed: bool) -> str | None:
    """Why a need cannot be met under this configuration, and what to do; None where it can.

    Args:
        cfg: Axolotl's configuration.
        need: of a signal.
        held_out: whether there are held-out rows.
        tied: whether a held-out set belongs to a dataset.
        probed: whether passes of their own would give the signal too.
    """
    if not kinds.kind_of(cfg).supervised or need in _ELSEWHERE:
        return _of_kind(cfg, need)
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
    without = {"adapter": options.without_twin, "steps": options.without_branches}.get(need)
    return without(cfg) if without else _no_pass(cfg, need)


def unseen(cfg: Any) -> str | None:
    """Why training batches show nothing of what hbo looks at in this kind of training; None where they do."""
    if kinds.kind_of(cfg).supervised:
        return options.without_predictions(cfg) or options.changed_loss(cfg)
    return options.without_pairs(cfg)


def notes_on(config: HBOConfig, signals: Sequence[str]) -> list[str]:
    """What a user should know about these signals, whichever source gives them."""
    taken = {need for name in signals if name in SIGNALS for needs in SIGNALS[name].sources.values() for need in needs}
    notes = []
    if "held_out" in taken and not config.target:
        notes.append(
            f"the method `{config.method}` looks at held-out rows, of which all sets count alike: then little is to be gained "
            "over a good `method: static`; name in `hbo.target` what the run should be good at"
        )
    if "pairs" in taken:
        notes.append(
            f"the method `{config.method}` follows {listed(signals)}, where a pair whose label is wrong looks like one that is "
            "hard: a dataset with noisy labels moves the weights as a hard one does"
        )
    return notes


def _of_kind(cfg: Any, need: Need) -> str | None:
    """Why a kind of training cannot meet a need: beside supervised fine-tuning, each has one of its own at most."""
    kind = kinds.kind_of(cfg)
    if need == kind.source:
        return unseen(cfg)
    if kind.supervised:
        return f"{_ELSEWHERE[need]}; name another signal"
    own = [name for name, signal in SIGNALS.items() if kind.source in signal.sources]
    best = (
        "`hbo.method: frontier`"
        if kind.generates
        else f"`hbo.reward: {{global: {own[0]}, local: {own[0]}}}` with `method: hbo`"
    )
    return f"with `{kind.written}` hbo measures {listed(own)} and nothing else; set {best}, or `method: static`"


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
