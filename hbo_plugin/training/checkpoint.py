"""The checkpoint: which parts of a run it keeps, and how a run continues from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hbo_plugin.methods.base import KeepsArrays
from hbo_plugin.training import state_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.run import Run
    from hbo_plugin.training.step_shape import StepShape

_METHOD, _WEIGHING = "method", "row_weights"
"""Under which the arrays of a method and those of row weights stand; no source has these names."""


def save(run: Run, folder: Path) -> None:
    """Write the state of a run into a checkpoint, as a whole or not at all; on one rank."""
    weighing = run.watching.weighing
    state = {
        **run.balancer.state_dict(),
        **run.journal.state_dict(),
        "step": str(run.shape),
        "batcher": run.done,
        "overfitting": run.overfitting.state_dict(),
        "sources": {name: source.state_dict() for name, source in run.sources.items()},
        "weighing": weighing.state_dict() if weighing else {},
    }
    kept = {name: source.tensors() for name, source in run.sources.items()}
    if weighing:
        kept[_WEIGHING] = weighing.tensors()
    if isinstance(method := run.balancer.method, KeepsArrays):
        kept[_METHOD] = {key: torch.from_numpy(array) for key, array in method.arrays().items()}
    tensors = {f"{name}/{key}": tensor for name, found in kept.items() for key, tensor in found.items()}
    state_file.write(folder, state, tensors)


def load(run: Run, folder: Path) -> None:
    """Continue a run from a checkpoint; a ValueError says why it cannot."""
    state, tensors = state_file.read(folder)
    try:
        _load(run, state, tensors)
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        # A whole state of the right version: a part of the run has changed what it saves.
        msg = (
            f"the state in `{folder}` does not fit this run ({error!r}); resume with the hbo and the method "
            f"that wrote it, or start afresh."
        )
        raise ValueError(msg) from error


def load_balancer(balancer: Balancer, shape: StepShape, state: dict[str, Any]) -> None:
    """Continue the weights and the stream of a run; a ValueError says why its checkpoint belongs to another."""
    balancer.load_state_dict(state)
    if state["step"] != str(shape):
        msg = (
            f"the checkpoint trained on {state['step']} a step, but this run would on {shape}; keep "
            f"`sample_packing` and micro_batch_size * gradient_accumulation_steps * ranks as they were, "
            f"or start afresh."
        )
        raise ValueError(msg)


def _load(run: Run, state: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    load_balancer(run.balancer, run.shape, state)
    run.done = state["batcher"]
    run.journal.load_state_dict(state)
    run.overfitting.load_state_dict(state["overfitting"])
    run.balancer.stop(run.overfitting.stopped)
    needed = {name: source for name, source in run.sources.items() if source.names}
    if not needed.keys() <= state["sources"].keys():
        msg = (
            f"the checkpoint measured signals by {_names(state['sources'])}, but this run does by {_names(needed)}; "
            f"set `hbo.signals`, `hbo.reward` and the options of the loss as they were, or start afresh."
        )
        raise ValueError(msg)
    for name in run.sources.keys() & state["sources"].keys():
        run.sources[name].load_state_dict(state["sources"][name])
        run.sources[name].load_tensors(_of(name, tensors))
    if weighing := run.watching.weighing:
        weighing.load_state_dict(state["weighing"])
        weighing.load_tensors(_of(_WEIGHING, tensors))
    if isinstance(method := run.balancer.method, KeepsArrays):
        method.load_arrays({key: tensor.numpy() for key, tensor in _of(_METHOD, tensors).items()})


def _of(name: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a source, or of the method, under their own names."""
    prefix = f"{name}/"
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _names(sources: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in sources) or "nothing"
