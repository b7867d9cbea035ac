"""Snapshots: what training moves, kept aside and put back bit for bit."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import torch

from hbo_plugin.devices import own_devices
from hbo_plugin.signals.gradients import trained_of


class Snapshot:
    """The trained parameters and buffers, the optimizer's state, the schedule and the generators of a Trainer at one moment."""

    def __init__(self, trainer: Any, *, device: str | None = None) -> None:
        """Copy everything.

        Args:
            trainer: between two optimizer steps.
            device: where the copies lie; None for that of each tensor.
        """
        self._trainer, self._device = trainer, device
        model = trainer.model
        moved = [*trained_of(model), *model.buffers()]
        self._tensors = [_Kept(tensor, device) for tensor in moved]
        self._state = {parameter: self._copied(state) for parameter, state in trainer.optimizer.state.items()}
        groups = trainer.optimizer.param_groups
        self._groups = [{key: copy.deepcopy(group[key]) for key in group if key != "params"} for group in groups]
        self._schedule = copy.deepcopy(trainer.lr_scheduler.state_dict())
        self._scaler = None if trainer.accelerator.scaler is None else trainer.accelerator.scaler.state_dict()
        self._generators = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 others use it
        self._of_devices = {device: torch.cuda.get_rng_state(device) for device in own_devices(model) or ()}

    def restore(self) -> None:
        """Put everything back, as often as need be."""
        trainer = self._trainer
        for kept in self._tensors:
            kept.put_back()
        trainer.optimizer.state.clear()
        for parameter, state in self._state.items():
            trainer.optimizer.state[parameter] = _returned(state)
        for group, kept_group in zip(trainer.optimizer.param_groups, self._groups, strict=True):
            group.update(copy.deepcopy(kept_group))
        trainer.lr_scheduler.load_state_dict(copy.deepcopy(self._schedule))
        if self._scaler is not None:
            trainer.accelerator.scaler.load_state_dict(self._scaler)
        trainer.model.zero_grad(set_to_none=True)
        python, numpy, cpu = self._generators
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        for device, state in self._of_devices.items():
            torch.cuda.set_rng_state(state, device)

    def _copied(self, value: Any) -> Any:
        """A copy, in which each tensor is a `_Kept`."""
        if isinstance(value, torch.Tensor):
            return _Kept(value, self._device)
        if isinstance(value, dict):
            return {key: self._copied(each) for key, each in value.items()}
        return [self._copied(each) for each in value] if isinstance(value, list) else copy.deepcopy(value)


class _Kept:
    """A tensor and a copy of its values. The tensor itself comes back: an optimizer may have it in memory of a special kind."""

    def __init__(self, tensor: torch.Tensor, device: str | None) -> None:
        self._tensor, self._values = tensor, tensor.detach().to(device or tensor.device, copy=True)

    @torch.no_grad()
    def put_back(self) -> torch.Tensor:
        """Return the tensor, with the values that it had."""
        return self._tensor.copy_(self._values)


def _returned(kept: Any) -> Any:
    """What a copy was made of, with the values that it had."""
    if isinstance(kept, _Kept):
        return kept.put_back()
    if isinstance(kept, dict):
        return {key: _returned(each) for key, each in kept.items()}
    return [_returned(each) for each in kept] if isinstance(kept, list) else copy.deepcopy(kept)
