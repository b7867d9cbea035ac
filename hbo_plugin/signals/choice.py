"""The choice: which sources of signals there are, and which of them measures what in a run."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hbo_plugin import kinds, options
from hbo_plugin.signals.needs import blocked, notes_on, unseen
from hbo_plugin.signals.table import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.sources import SignalSource

SOURCES: Mapping[str, tuple[str, str]] = {
    "reuse": ("hbo_plugin.signals.reuse:Reuse", "the training batches"),
    "probe": ("hbo_plugin.signals.probes:Probes", "passes over a sample of rows"),
    "held_out": ("hbo_plugin.signals.held_out:HeldOut", "passes over the held-out rows"),
    "pairs": ("hbo_plugin.signals.pairs:Pairs", "the pairs that are trained on"),
    "rollouts": ("hbo_plugin.signals.rollouts:Rollouts", "the rewards of what is generated"),
    "twin": ("hbo_plugin.signals.twin:Twin", "a twin that is trained beside the model"),
    "branches": ("hbo_plugin.signals.branches:Branches", "branches of the run"),
}
"""Where each source is, and what it measures on. They are imported when a run needs them, for they need torch."""
_IN_PASSING = frozenset({"reuse", "pairs", "rollouts"})
"""The sources that look at what is trained on, and at nothing else."""


@dataclass(frozen=True)
class Choice:
    """Which source measures which signals in a run.

    Attributes:
        names: the signals of each source that is needed; none where training batches only show their losses, or
            held-out rows theirs to `max_epochs: auto`.
        passes: whether hbo can run the model apart from the training.
        notes: what a user should know about it.
        layers: whether the layers that are trained can be watched.
        logits: whether a training batch leaves its logits to be looked at.
    """

    names: Mapping[str, tuple[str, ...]]
    passes: bool
    notes: tuple[str, ...] = ()
    layers: bool = True
    logits: bool = True

    @property
    def steers(self) -> bool:
        """Whether held-out rows are looked at to move the weights."""
        return any(
            "held_out" in SIGNALS[name].sources[source] for source, names in self.names.items() for name in names
        )

    @property
    def adapts(self) -> bool:
        """Whether there is a signal for weights to follow."""
        return any(self.names.values())

    def build(self, context: Context) -> dict[str, SignalSource]:
        """The sources, by name."""
        sources = {}
        for source, names in self.names.items():
            module, _, attribute = SOURCES[source][0].partition(":")
            sources[source] = getattr(import_module(module), attribute)(names, context)
        return sources


def choose(
    cfg: Any, config: HBOConfig, signals: Sequence[str], *, held_out: bool, tied: bool, watches: bool = False
) -> Choice:
    """Choose a source for each signal of a method.

    Args:
        cfg: Axolotl's configuration.
        config: the `hbo:` block.
        signals: that the method needs.
        held_out: whether there are held-out rows.
        tied: whether a held-out set belongs to a dataset.
        watches: whether held-out losses are measured for `max_epochs: auto`, whatever the method needs.

    Raises:
        ValueError: a signal that is unknown, or that cannot be measured under this configuration.
    """
    preferred = "probe" if config.signals == "auto" and config.published else config.signals
    if signals and (changed := options.changed_loss(cfg)):
        msg = (
            f"`{changed}` changes the loss that is trained on, but the signals of the method `{config.method}` measure "
            f"the next-token loss; remove it, or choose `method: static`, which needs none."
        )
        raise ValueError(msg)
    names: dict[str, tuple[str, ...]] = {}
    notes = notes_on(config, signals)
    for signal in signals:
        if signal not in SIGNALS:
            known = ", ".join(f"`{name}`" for name in SIGNALS)
            msg = f"The method `{config.method}` asks for the signal `{signal}`, but the signals are {known}; name one of them."
            raise ValueError(msg)
        if preferred == "reuse" and not _IN_PASSING & SIGNALS[signal].sources.keys():
            reused = ", ".join(f"`{name}`" for name, entry in SIGNALS.items() if _IN_PASSING & entry.sources.keys())
            msg = (
                f"`hbo.signals: reuse` was given, but `{signal}`, which the method `{config.method}` needs, does not come "
                f"from training batches ({reused} do); set `signals: auto`."
            )
            raise ValueError(msg)
        source, reasons = _source(cfg, signal, preferred, held_out=held_out, tied=tied)
        if source is None:
            why = "; ".join(dict.fromkeys(reasons))
            msg = f"`{signal}`, which the method `{config.method}` needs, cannot be measured here: {why}."
            raise ValueError(msg)
        names[source] = (*names.get(source, ()), signal)
        notes += [f"`{signal}` comes from {SOURCES[source][1]}, because {reason}" for reason in reasons]
    if watches:
        options.check_watching(cfg)
        names.setdefault("held_out", ())
    if (own := kinds.kind_of(cfg).source) and config.signals != "probe" and not unseen(cfg):
        names.setdefault(own, ())
    return Choice(
        names,
        options.ranks_can_run_forward(cfg),
        tuple(dict.fromkeys(notes)),
        layers=options.without_layers(cfg) is None,
        logits=options.fused_loss(cfg) is None,
    )


def _source(cfg: Any, signal: str, preferred: str, *, held_out: bool, tied: bool) -> tuple[str | None, list[str]]:
    """The source of a signal, None where no source can give it; and why those before it cannot."""
    reasons: list[str] = []
    for source, needs in SIGNALS[signal].sources.items():
        if source == "reuse" and preferred == "probe":
            continue
        known = {"held_out": held_out, "tied": tied, "probed": "probe" in SIGNALS[signal].sources}
        reason = next(filter(None, (blocked(cfg, need, **known) for need in sorted(needs))), None)
        if reason is None:
            return source, reasons
        reasons.append(reason)
        if source == preferred == "reuse":
            break
    return None, reasons
