"""A pretended GPU: tensors that are on another device than the CPU, and are computed there all the same.

It counts what makes the host wait for the device, and refuses an operation on tensors of both, as CUDA does.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""Another kind than the CPU that torch needs no driver for."""
_MOVING = ("_to_copy", "copy_")
_SHAPED_BY_VALUES = ("nonzero", "masked_select", "unique", "bincount", "equal", "_local_scalar_dense")
"""Operations whose result the host must know before it goes on."""


class Pretended(torch.Tensor):
    """A tensor on the device."""

    on_host: torch.Tensor

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        msg = f"{function} was called while no `PretendedDevice` was open"
        raise RuntimeError(msg)


def on_device(on_host: torch.Tensor) -> torch.Tensor:
    """The same numbers on the device."""
    make: Any = torch.Tensor._make_wrapper_subclass
    made: Pretended = make(Pretended, on_host.size(), strides=on_host.stride(), dtype=on_host.dtype, device=DEVICE)
    made.on_host = on_host
    return made


class PretendedDevice(TorchDispatchMode):
    """While open, the device works; `waits` counts what the host waited for, by operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        here = [isinstance(tensor, Pretended) for tensor in tensors]
        asked = kwargs.get("device")
        stays = any(here) if asked is None else torch.device(asked).type == DEVICE.type
        if name in _MOVING:
            arrives = stays if name == "_to_copy" else here[0]
            goes_on = arrives and (kwargs.get("non_blocking") or True in args[2:])
            self.waits[name] += here[-1] != arrives and not goes_on
        elif any(here):
            # A number of the host without dimensions goes along.
            if any(not there and tensor.dim() for there, tensor in zip(here, tensors, strict=True)):
                msg = f"`{name}` of tensors on the device and on the host"
                raise RuntimeError(msg)
            by_mask = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in tensors[1:])
            self.waits[name] += name in _SHAPED_BY_VALUES or by_mask
        args, kwargs = tree_map(lambda leaf: leaf.on_host if isinstance(leaf, Pretended) else leaf, (args, kwargs))
        if asked is not None:
            kwargs["device"] = torch.device("cpu")
        result = function(*args, **kwargs)
        return tree_map(lambda leaf: on_device(leaf) if stays and isinstance(leaf, torch.Tensor) else leaf, result)
