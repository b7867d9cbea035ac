"""The table of methods: each turns signals into weights. NumPy only: no torch and no Axolotl in this folder."""

from __future__ import annotations

import difflib
import inspect
from importlib import import_module
from typing import TYPE_CHECKING

from hbo_plugin.methods.base import Method
from hbo_plugin.methods.given import Given
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.learning_progress import LearningProgress
from hbo_plugin.methods.published.doremi import DoReMi
from hbo_plugin.methods.published.dynamix import Dynamix
from hbo_plugin.methods.published.hbo import HboReference
from hbo_plugin.methods.published.mos import Mos
from hbo_plugin.methods.published.mos_plus import MosPlus
from hbo_plugin.methods.published.multidds import MultiDds
from hbo_plugin.methods.published.multiuat import MultiUat
from hbo_plugin.methods.published.odm import Odm
from hbo_plugin.methods.published.pike import Pike
from hbo_plugin.methods.published.target_loss import TargetLoss
from hbo_plugin.methods.random import RandomRewards
from hbo_plugin.methods.replay import Replay
from hbo_plugin.methods.signals import SIGNALS, Signal
from hbo_plugin.methods.static import Capped, Proportional, Temperature, Uniform

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Each is called with the rows of every cell, int64[datasets, levels], and the settings of its class as keywords.
# `hbo_reference` is what `hbo` with `reference: true` means; users do not write it.
METHODS: Mapping[str, Callable[..., Method]] = {
    "hbo": Hbo,
    "hbo_reference": HboReference,
    "mos": Mos,
    "mos_plus": MosPlus,
    "multidds": MultiDds,
    "multiuat": MultiUat,
    "odm": Odm,
    "pike": Pike,
    "dynamix": Dynamix,
    "doremi": DoReMi,
    "target_loss": TargetLoss,
    "learning_progress": LearningProgress,
    "proportional": Proportional,
    "temperature": Temperature,
    "uniform": Uniform,
    "capped": Capped,
    "given": Given,
    "random": RandomRewards,
    "replay": Replay,
}

__all__ = ["METHODS", "SIGNALS", "Method", "Signal", "find_method"]


def find_method(name: str) -> Callable[..., Method]:
    """Return what builds the method `name`: a name of the table, or the dotted path of a class.

    Raises ValueError where there is no such method, or where the class lacks what a method needs.
    """
    if name in METHODS:
        return METHODS[name]
    module, _, attribute = name.rpartition(".")
    if not module:
        near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.0)[0]
        message = (
            f"There is no method `{name}`; the nearest is `{near}`. Name one of "
            f"{', '.join(f'`{known}`' for known in METHODS)}, or the dotted path of a class, as in `my_package.MyMethod`."
        )
        raise ValueError(message)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"The method `{name}` cannot be imported ({error}): give the dotted path of a class that can."
        raise ValueError(message) from error
    missing = _missing(found)
    if missing:
        message = f"The method `{name}` {missing}: see `hbo_plugin.methods.Method` for what a method is."
        raise ValueError(message)
    return found  # type: ignore[no-any-return]


def _missing(found: object) -> str:
    """What keeps `found` from being a method, as the rest of a sentence; empty where nothing does."""
    if not inspect.isclass(found):
        return f"is `{found!r}`, but it must be a class"
    for attribute in ("weights", "update", "state_dict", "load_state_dict"):
        if not callable(getattr(found, attribute, None)):
            return f"has no method `{attribute}`, but it must have one"
    try:
        inspect.signature(found).bind("rows")
    except TypeError as error:
        return f"cannot be built from the rows alone ({error}), but every other parameter must have a default"
    return ""
