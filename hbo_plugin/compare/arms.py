"""The arms of a comparison: the `hbo:` block of the user's run, changed for each method that it is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hbo_plugin.args import HBOConfig
from hbo_plugin.messages import listed, reasons, yaml_text
from hbo_plugin.method_args import STATIC, MethodConfig
from hbo_plugin.methods import find_settings
from hbo_plugin.methods.parameters import parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    Block = dict[str, Any]

PLAIN = "axolotl"
"""The arm that trains without hbo."""
_REPLAY = "replay"
_EVERY_METHOD = HBOConfig.model_fields.keys() - MethodConfig.model_fields.keys()
"""The keys of the block that mean the same with every method."""
_MIXTURE = {"prior", "weights"}


@dataclass(frozen=True)
class Arm:
    """One way to make the run.

    Attributes:
        name: in the table.
        block: of `hbo:`; that of a control has no `trace` yet.
        left_out: keys of the user's block that its method does not have.
        replays: the arm whose average weights it draws by; None for all but a control.
        plain: whether it trains without hbo; its block is what it is measured with afterwards.
    """

    name: str
    block: Block
    left_out: tuple[str, ...] = ()
    replays: str | None = None
    plain: bool = False

    @property
    def folder(self) -> str:
        """The name, as the folder of a run begins with it."""
        return re.sub(r"[^\w+]+", "-", self.name).strip("-").lower()

    def made(self, trace: Path | None) -> Block:
        """Return the block to train with; `trace` is that of the run to replay."""
        return self.block if trace is None else {**self.block, "trace": str(trace)}


def find_arms(
    given: Block, methods: Sequence[str], changes: Mapping[str, Block], baseline: str, *, controls: bool
) -> list[Arm]:
    """Return the baseline, the other arms in their order, and after each that adapts its control.

    Args:
        given: the user's `hbo:` block.
        methods: names of methods, each an arm; or `PLAIN`.
        changes: other arms by their names: keys of the block that replace the user's.
        baseline: the arm that all others are compared with; it is added where it is the name of a method.
        controls: whether each arm that adapts gets a second one, which draws by its average weights.

    Raises:
        ValueError: a block that hbo would refuse, or two arms of one name.
    """
    blocks = {name: {"method": name} for name in (*methods, *({baseline} - changes.keys() - {*methods}))}
    if twice := blocks.keys() & changes.keys():
        msg = f"{listed(sorted(twice))} is the name of a method and of an arm in the file; give the arm another."
        raise ValueError(msg)
    own = _checked(given, "the configuration")
    arms = [
        _plain(given, own) if name == PLAIN and name in blocks else _arm(name, given, own, change)
        for name, change in (blocks | dict(changes)).items()
    ]
    arms.sort(key=lambda arm: arm.name != baseline)
    made = []
    for arm in arms:
        made.append(arm)
        if _checked(arm.block, f"the arm `{arm.name}`").method not in {STATIC, _REPLAY} and controls:
            made.append(_control(arm))
    folders = [arm.folder for arm in made]
    if twice := {folder for folder in folders if folders.count(folder) > 1}:
        msg = f"two arms would write to {listed(sorted(twice))}; give them names that differ in letters or digits."
        raise ValueError(msg)
    return made


def _arm(name: str, given: Block, own: HBOConfig, changes: Block) -> Arm:
    method = changes.get("method", STATIC if "weights" in changes else own.method)
    kept = dict(given)
    if method != own.method or changes.get("published", own.published) != own.published:
        has = parameters(find_settings(method, published=bool(changes.get("published"))))
        # Shares that the user wrote down are where another method starts.
        if "weights" in kept and "prior" in has and "weights" not in has and isinstance(kept["weights"], dict):
            kept["prior"] = kept.pop("weights")
        kept = {key: value for key, value in kept.items() if key in _EVERY_METHOD or key in has}
        if method == STATIC or "branch_at" in has:  # their weights have a time of their own, or none
            kept.pop("hold_steps", None)
    if changes.keys() & _MIXTURE:
        kept = {key: value for key, value in kept.items() if key not in _MIXTURE}
    block = {**kept, **changes}
    if "weights" in block:
        block.pop("method", None)  # they choose it
    left_out = tuple(key for key in given if key not in kept and key not in {"method", "published", *_MIXTURE})
    return Arm(name, block, left_out)


def _plain(given: Block, own: HBOConfig) -> Arm:
    """The arm without hbo, which is measured on the held-out rows of `method: static`."""
    static = _arm(PLAIN, given, own, {"method": STATIC}).block
    return Arm(PLAIN, {key: value for key, value in static.items() if key not in _MIXTURE}, plain=True)


def _checked(block: Block, whose: str) -> HBOConfig:
    try:
        return HBOConfig.model_validate(block)
    except ValidationError as error:
        msg = f"{whose}: {reasons(error)}"
        raise ValueError(msg) from None


def _control(arm: Arm) -> Arm:
    kept = {key: value for key, value in arm.block.items() if key in _EVERY_METHOD and key != "hold_steps"}
    return Arm(f"{arm.name}, its average", {**kept, "method": _REPLAY}, replays=arm.name)


def told(arm: Arm) -> str:
    """Say in a line what an arm trains with."""
    if arm.plain:
        return f"{arm.name}: without hbo"
    settings = ", ".join(f"{key}: {yaml_text(value)}" for key, value in arm.block.items())
    without = f"; {listed(arm.left_out)} left out" if arm.left_out else ""
    return f"{arm.name}: {{{settings}}}{without}"
