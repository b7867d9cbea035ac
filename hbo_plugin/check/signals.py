"""Signals of a plan: where each comes from, and what measuring it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hbo_plugin.signals.choice import SOURCES
from hbo_plugin.signals.table import SIGNALS, cost

if TYPE_CHECKING:
    from hbo_plugin.args import HBOConfig
    from hbo_plugin.signals.choice import Choice
    from hbo_plugin.training.moments import Moments


@dataclass(frozen=True)
class SignalPlan:
    """Where a signal comes from, and what measuring it takes at each update."""

    name: str
    source: str
    cost: str


def signal_plans(choice: Choice, config: HBOConfig, moments: Moments, target: int) -> list[SignalPlan]:
    """What measuring takes at these moments, where the target has so many held-out sets."""
    taken: dict[str, Any] = {
        "forward_rows": config.forward_rows,
        "gradient_rows": config.gradient_rows,
        "copy_rows": config.copy_steps * config.gradient_rows * (1 + 2 * target),
        "twin_every": config.twin["twin_every"],
        "branches": moments.branches,
    }
    return [
        SignalPlan(name, SOURCES[source][1], cost(SIGNALS[name].sources[source], **taken))
        for source, names in choice.names.items()
        for name in names
    ]
