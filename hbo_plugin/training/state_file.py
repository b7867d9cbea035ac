"""The state files of a checkpoint: written and read as a whole or not at all; and which checkpoints are whole."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

STATE_FILE = "hbo_state.json"
"""In every checkpoint. JSON; floats survive it bit for bit."""

TENSORS_FILE = "hbo_tensors.safetensors"
"""Beside it, where a source or a method has tensors to keep. Its digest stands in the state."""

STATE_VERSION = 1

_TRAINER_FILE = (
    "trainer_state.json"  # the last file of a checkpoint that the Trainer writes, and so the sign of a whole one
)

Count = Annotated[int, Field(ge=0, lt=2**63)]


class _State(BaseModel):
    """What the file holds, beside its version and digest; what reads a part knows its inside."""

    model_config = ConfigDict(strict=True)

    block: dict[str, str]
    seed: Count
    datasets: list[str]
    fingerprints: list[str]
    mixture: dict[str, Any]
    method_state: dict[str, Any]
    rows_trained: list[Count]
    tokens: list[Count]
    trained_tokens: list[Count]
    capped: list[bool]
    batcher: dict[str, Any]
    in_force_from: Count
    drawn: list[Count]
    step: str
    sources: dict[str, dict[str, Any]]
    signals: dict[str, float]
    row_weights: dict[str, float]
    weighing: dict[str, Any]
    delay: dict[str, float]
    losses: dict[str, list[float]]
    elapsed: float
    overhead: dict[str, float]
    tensors: str | None

    @model_validator(mode="after")
    def _consistent(self) -> _State:
        counted = (self.rows_trained, self.tokens, self.trained_tokens, self.capped, self.drawn)
        cells = {len(counts) for counts in counted}
        if len(cells) > 1 or len(self.fingerprints) != len(self.datasets):
            msg = "it has not one entry for each cell and dataset"
            raise ValueError(msg)
        return self


def write(folder: Path, state: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a state into a checkpoint.

    The checkpoint counts as incomplete until the Trainer has written its last file, also where a run that went on from
    an earlier checkpoint comes to one that was whole.

    Args:
        folder: the checkpoint, made if need be.
        state: JSON-safe, without a version and digests.
        tensors: by name; none leaves no file.

    Raises:
        OSError: the files could not be written; those that were there are as they were.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = _pack(tensors) if tensors else None
    content = {"version": STATE_VERSION, **state, "tensors": None if packed is None else _digest(packed)}
    text = json.dumps({**content, "digest": _digest(_canonical(content))})
    drafts = {STATE_FILE: text.encode()} if packed is None else {TENSORS_FILE: packed, STATE_FILE: text.encode()}
    for name, data in drafts.items():
        with (folder / f"{name}.writing").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # a rename may reach the disk before what was written
    (folder / _TRAINER_FILE).unlink(missing_ok=True)
    if packed is None:
        (folder / TENSORS_FILE).unlink(missing_ok=True)
    for name in drafts:
        (folder / f"{name}.writing").replace(folder / name)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What `write` was given for a checkpoint; the state has its version and digest too.

    Raises:
        ValueError: the checkpoint is incomplete, or its state is missing, damaged, or of another version.
    """
    _check_complete(folder)
    path = folder / STATE_FILE
    if not path.exists():
        msg = (
            f"the checkpoint `{folder}` holds no `{STATE_FILE}`, so it was made without hbo; "
            f"resume without `hbo:`, or start afresh in another `output_dir`."
        )
        raise ValueError(msg)
    state = _object(path)
    if "version" not in state:
        raise _damaged(path, "it has no `version`")
    if state["version"] != STATE_VERSION:
        msg = (
            f"`{path}` has version `{reprlib.repr(state['version'])}`, but this hbo reads {STATE_VERSION}; "
            f"resume with the hbo that wrote it, or start afresh."
        )
        raise ValueError(msg)
    if state.pop("digest", None) != _digest(_canonical(state)):
        raise _damaged(path, "its content does not match its `digest`")
    try:
        _State.model_validate(state)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise _damaged(path, f"its `{where}` cannot be right ({reason})" if where else reason) from error
    return state, {} if state["tensors"] is None else _read_tensors(folder / TENSORS_FILE, state["tensors"])


def _read_tensors(path: Path, digest: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, "it is missing") from None
    if _digest(data) != digest:
        raise _damaged(path, f"its content does not match the digest in `{STATE_FILE}`")
    return load(data)


def _pack(tensors: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def newest_checkpoints(folder: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint in an output folder, if there is one, and those after it that a kill left incomplete."""
    numbered = [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    incomplete: list[Path] = []
    for checkpoint in sorted(numbered, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True):
        if _cut_short(checkpoint) is None:
            return checkpoint, incomplete
        incomplete.append(checkpoint)
    return None, incomplete


def _check_complete(folder: Path) -> None:
    """Refuse a checkpoint that a kill cut short; the Trainer would end in a traceback, or go on without its optimizer."""
    if not folder.is_dir():
        msg = f"there is no checkpoint `{folder}`; change `resume_from_checkpoint`, or remove it to start afresh."
        raise ValueError(msg)
    if found := _cut_short(folder):
        msg = (
            f"the checkpoint `{folder}` is incomplete, because `{_TRAINER_FILE}`, its last file, {found}; "
            f"resume from the checkpoint before it."
        )
        raise ValueError(msg)


def _cut_short(folder: Path) -> str | None:
    """What is wrong with the file that a checkpoint ends with; None where the checkpoint is whole."""
    try:
        json.loads((folder / _TRAINER_FILE).read_bytes())
    except FileNotFoundError:
        return "is missing"
    except ValueError:
        return "is cut short"
    return None


def _object(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is no JSON") from error
    if not isinstance(state, dict):
        raise _damaged(path, "it is no JSON object")
    return state


def _damaged(path: Path, what: str) -> ValueError:
    msg = (
        f"`{path}` is not as hbo wrote it: {what}; restore the file, or remove the checkpoint "
        f"and resume from the one before it."
    )
    return ValueError(msg)


def _canonical(content: dict[str, Any]) -> bytes:
    """The bytes of a state, whatever the order of its keys, once it was JSON."""
    return json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
