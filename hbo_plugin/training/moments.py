"""Moments: after which steps of a run its weights follow what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hbo_plugin.methods.base import BranchPlan, TrainsBranches
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
        branches: where there are no others than those after which branches are trained, the plan of these; None else.
    """

    every: int
    hold: int
    branches: BranchPlan | None = None

    @classmethod
    def of(cls, config: HBOConfig, method: Method, steps: int) -> Moments:
        """Those of a run of so many steps; ValueError where it is too short for its method."""
        branches = method.branches(steps) if isinstance(method, TrainsBranches) else None
        return cls(config.update_every, step_of(config.hold_steps, steps), branches)

    def __contains__(self, step: int) -> bool:
        if self.branches:
            return step in self.branches.moments
        return step % self.every == 0 and step >= self.hold

    def __str__(self) -> str:
        if not self.branches:
            return f"Every {self.every:,} steps"
        steps = [f"{step:,}" for step in self.branches.moments]
        return f"After step{'s' * (len(steps) > 1)} {', '.join(steps)}"
