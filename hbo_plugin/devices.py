"""Devices: those of CUDA that this process trains on."""

from __future__ import annotations

from typing import Any

import torch


def own_devices(model: Any) -> list[int] | None:
    """Where the random numbers of a model's passes may come from, beside the CPU.

    Other visible devices belong to other ranks, and to ask for their generators would take memory on each.

    Returns:
        Numbers of CUDA devices; None where there is no CUDA, for all devices of another kind.
    """
    if not torch.cuda.is_available():
        return None
    if not torch.cuda.is_initialized():
        return []
    # Where parameters are kept in the CPU's memory, the current device computes.
    return sorted({torch.cuda.current_device(), *(each.device.index for each in model.parameters() if each.is_cuda)})


def settle() -> None:
    """Wait until this process's CUDA device has done all that it was given; without one, nothing."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
