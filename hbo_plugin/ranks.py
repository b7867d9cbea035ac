"""Ranks: this process among those that train together, and how they add up or compare what each has.

A rank is whoever trains on batches of its own. Under tensor parallelism, several processes share the batches of one, and
each does its part of every layer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin import compat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranks:
    """One of the ranks of a run. `Ranks()` is a process that trains alone.

    Attributes:
        rank: number of this rank, from 0.
        size: how many ranks there are.
        accelerator: what processes talk through, from accelerate; None for a process alone.
        processes: how many are one rank.
    """

    rank: int = 0
    size: int = 1
    accelerator: Any = None
    processes: int = 1

    @classmethod
    def of(cls, trainer: Any) -> Ranks:
        """The ranks of a Trainer, numbered as accelerate hands out batches."""
        args, accelerator = trainer.args, trainer.accelerator
        parallelism = getattr(accelerator, "parallelism_config", None)
        processes = parallelism.tp_size if parallelism else 1
        return cls(args.process_index // processes, args.world_size // processes, accelerator, processes)

    @classmethod
    def launched(cls) -> Ranks:
        """The processes of a launcher before there is a Trainer, each with a model of its own."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch
        from accelerate import PartialState
        from accelerate.utils import gather, reduce

        if torch.accelerator.is_available():
            compat.start_processes()
        # On CPUs, accelerate sees one process unless it is told, and so does the Trainer.
        state = PartialState(cpu=not torch.accelerator.is_available())
        talking = SimpleNamespace(device=state.device, reduce=reduce, gather=gather)
        return cls(state.process_index, state.num_processes, talking)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum the values of all ranks, float64 of any shape; every process calls it."""
        if self.size * self.processes == 1:
            return values
        import torch

        own = torch.as_tensor(values, device=self.accelerator.device)
        total = self.accelerator.reduce(own, reduction="sum").cpu().numpy() / self.processes
        return np.asarray(total, dtype=np.float64)

    def gather(self, values: Sequence[int]) -> NDArray[np.int64]:
        """The values of each process, int64[processes, values]; every process calls it."""
        if self.size * self.processes == 1:
            return np.array([values], np.int64)
        import torch

        own = torch.tensor([values], device=self.accelerator.device)
        return np.asarray(self.accelerator.gather(own).cpu().numpy(), dtype=np.int64)
