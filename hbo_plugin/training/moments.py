"""Moments: after which steps of a run its weights follow what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hbo_plugin.methods.base import TrainsBranches
from hbo_plugin.methods.parameters import step_of

if TYPE_CHECKING:
    from hbo_plugin.args import HBOConfig
    from hbo_plugin.methods import Method


@dataclass(frozen=True)
class Moments:
    """Every so many steps, or after some alone.

    Attributes:
        every: steps from one to the next.
        hold: the first step that they may follow.
        alone: the steps where there are no others; None else.
    """

    every: int
    hold: int
    alone: tuple[int, ...] | None = None

    @classmethod
    def of(cls, config: HBOConfig, method: Method, steps: int) -> Moments:
        """Those of a run of so many steps; ValueError where it is too short for its method."""
        alone = method.branches(steps).moments if isinstance(method, TrainsBranches) else None
        return cls(config.update_every, step_of(config.hold_steps, steps), alone)

    def __contains__(self, step: int) -> bool:
        return step % self.every == 0 and step >= self.hold if self.alone is None else step in self.alone

    def __str__(self) -> str:
        if self.alone is None:
            return f"Every {self.every:,} steps"
        return f"After step{'s' * (len(self.alone) > 1)} {', '.join(f'{step:,}' for step in self.alone)}"
