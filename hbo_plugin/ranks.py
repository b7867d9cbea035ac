"""Ranks: this process among those that train together, and how they add up or compare what each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranks:
    """One of the processes of a run. `Ranks()` is a process that trains alone.

    Attributes:
        rank: number of this process, from 0.
        size: how many processes there are.
        accelerator: what they talk through, from accelerate; None for a process alone.
    """

    rank: int = 0
    size: int = 1
    accelerator: Any = None

    @classmethod
    def of(cls, trainer: Any) -> Ranks:
        """The ranks of a Trainer."""
        return cls(trainer.args.process_index, trainer.args.world_size, trainer.accelerator)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the values of all ranks, float64 of any shape; every rank calls it."""
        if self.size == 1:
            return values
        import torch

        own = torch.as_tensor(values, device=self.accelerator.device)
        return np.asarray(self.accelerator.reduce(own, reduction="sum").cpu().numpy(), dtype=np.float64)

    def gather(self, values: Sequence[int]) -> NDArray[np.int64]:
        """The values of each rank, int64[ranks, values]; every rank calls it."""
        if self.size == 1:
            return np.array([values], np.int64)
        import torch

        own = torch.tensor([values], device=self.accelerator.device)
        return np.asarray(self.accelerator.gather(own).cpu().numpy(), dtype=np.int64)
