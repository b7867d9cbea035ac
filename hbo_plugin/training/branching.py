"""Branching: training some steps apart from the run, from where it stands, after which everything is as it was."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler, Sampler

from hbo_plugin.packing import PackedBatchSampler
from hbo_plugin.signals.gradients import trained_of
from hbo_plugin.training.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import StepShape

_BY_METRICS = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow evaluations, of which a branch has none."""


class Branching:
    """Trains branches through the Trainer's own step, optimizer and schedule."""

    def __init__(self, trainer: Any, balancer: Balancer, shape: StepShape, steps: int, head: Callable[[], int]) -> None:
        """Train nothing yet.

        Args:
            trainer: of the run; its training loader asks for `sampler` while a branch is open.
            balancer: of the run; it is read and never changed.
            shape: of a step.
            steps: of a branch.
            head: gives the position of the next draw of the run, which branches draw from.
        """
        self._trainer, self._balancer, self._shape, self._head = trainer, balancer, shape, head
        self.steps = steps
        self.weights = balancer.weights
        self.batches: list[list[list[int]]] = []
        """The rows in each sequence of the micro-batches of the step that a branch makes."""
        self.sampler: Any = None
        """What the training loader iterates while branches are open; None else."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep the run as it is while branches are trained."""
        args = self._trainer.args
        counts = getattr(args, "include_tkps", None)
        # LoRA's few tensors stay where they are; a second copy of a whole model might not fit beside it.
        whole = all(parameter.requires_grad for parameter in self._trainer.model.parameters())
        self._device = "cpu" if whole else None
        self._start: Any = Snapshot(self._trainer, device=self._device)
        bins = self._shape.bins
        self.sampler = _Rows() if bins is None else _Bins(bins.bins_per_batch)
        self._loader: Any = self._trainer.get_train_dataloader()
        try:
            if counts:  # of the run's tokens
                args.include_tkps = False
            yield
        finally:
            self._start.restore()
            # As large as what is trained: not to be kept until the next moment.
            self.sampler = self._start = self._loader = None
            if counts:
                args.include_tkps = counts

    def start(self, weights: NDArray[np.float64], further: NDArray[np.float64]) -> None:
        """Begin a branch where the run stands, on rows by weights in what `unit` says, float64[datasets, levels].

        In place of each row comes the one that lies further on in its cell, by such a share of the cell; float64[datasets].
        """
        self._start.restore()
        head = self._head()
        mixture = self._balancer.branch(weights, head)
        shape, cells = self._shape, self._balancer.cells
        instead = cells.shifted(further)
        if shape.bins is None:
            self._todo = instead[mixture.fill(head, self.steps * shape.rows)].tolist()
            return
        packed = PackedBatchSampler(
            mixture, cells.lengths[instead], capacity=shape.bins.capacity, window=shape.bins.window
        )
        packed.load_state_dict({**packed.state_dict(), "head": head})
        batches = self.steps * shape.batches
        self._todo = [
            [instead[rows].tolist() for rows in islice(packed, shape.bins.bins_per_batch)] for _ in range(batches)
        ]

    def train(self, steps: int, *, averaged: bool = False) -> None:
        """Train the branch so many steps more, up to the last weights or to the mean of those after each of these steps."""
        trainer, shape = self._trainer, self._shape
        mean = _Mean(trainer.model, self._device) if averaged else None
        count = steps * (shape.rows if shape.bins is None else shape.batches)
        self.sampler.todo, self._todo = self._todo[:count], self._todo[count:]
        accumulated = trainer.args.gradient_accumulation_steps
        batches = iter(self._loader)
        for number in range(steps):
            self.batches = self._batches_of(number)
            step, items = trainer.get_batch_samples(batches, accumulated, trainer.args.device)
            if len(step) != accumulated:
                msg = f"the loader gave {len(step)} of the {accumulated} batches of a branch's step: another plugin replaced it; remove it."
                raise RuntimeError(msg)
            self._step(step, items)
            if mean:
                mean.add()
        next(batches, None)  # accelerate forgets a loader at its end
        if mean:
            mean.take()

    def _batches_of(self, step: int) -> list[list[list[int]]]:
        """The rows in each sequence of each micro-batch of a step, counted from 0 in what the loader goes through."""
        shape, todo = self._shape, self.sampler.todo
        if shape.bins is not None:
            return list(todo[step * shape.batches : (step + 1) * shape.batches])
        return shape.unpacked(todo[step * shape.rows : (step + 1) * shape.rows])

    def _step(self, batches: Sequence[Any], items: Any) -> None:
        trainer = self._trainer
        model, accelerator = trainer.model_wrapped, trainer.accelerator
        trainer.current_gradient_accumulation_steps = len(batches)
        for number, inputs in enumerate(batches, 1):
            with nullcontext() if number == len(batches) else accelerator.no_sync(model):
                trainer.training_step(model, inputs, items)
        if trainer.args.max_grad_norm > 0:
            accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        trainer.optimizer.step()
        if not accelerator.optimizer_step_was_skipped and trainer.args.lr_scheduler_type not in _BY_METRICS:
            trainer.lr_scheduler.step()
        model.zero_grad()


class _Mean:
    """The mean of the trained weights of a model over several moments."""

    def __init__(self, model: Any, device: str | None) -> None:
        """Begin with no moment; the sums lie on a device, None for that of each weight."""
        self._trained = trained_of(model)
        self._device = device
        self._sums: list[torch.Tensor] = []
        self._moments = 0

    def add(self) -> None:
        """Add the weights as they are now."""
        values = [
            weights.detach().to(self._device or weights.device, torch.float32, copy=True) for weights in self._trained
        ]
        if self._moments:
            for total, value in zip(self._sums, values, strict=True):
                total.add_(value)
        else:
            self._sums = values
        self._moments += 1

    @torch.no_grad()
    def take(self) -> None:
        """Give the model the mean."""
        for total, weights in zip(self._sums, self._trained, strict=True):
            weights.copy_(total / self._moments)


class _Rows(Sampler[int]):
    """The rows that a branch trains on next."""

    def __init__(self) -> None:
        self.todo: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.todo)

    def __iter__(self) -> Iterator[int]:
        yield from self.todo


class _Bins(BatchSampler):  # Axolotl tells batches from rows by this type
    """The packed batches that a branch trains on next."""

    drop_last = True

    def __init__(self, bins_per_batch: int) -> None:
        self.batch_size = bins_per_batch  # which accelerate reads once
        self.todo: Sequence[list[list[int]]] = ()

    def __len__(self) -> int:
        return len(self.todo)

    def __iter__(self) -> Iterator[list[list[int]]]:  # type: ignore[override]  # torch knows rows only
        yield from self.todo
