"""The table of methods: each turns signals into weights. No torch and no Axolotl in this folder."""

import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.classes import imported
from hbo_plugin.messages import listed, nearest
from hbo_plugin.methods.base import Method, MethodClass, RunFacts, check_rows
from hbo_plugin.methods.branches import Branches
from hbo_plugin.methods.frontier import Frontier
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.learning_progress import LearningProgress
from hbo_plugin.methods.parameters import parameters
from hbo_plugin.methods.published.doremi import DoReMi
from hbo_plugin.methods.published.dynamix import Dynamix
from hbo_plugin.methods.published.hbo import PublishedHboSettings
from hbo_plugin.methods.published.mos import Mos, PublishedMosSettings
from hbo_plugin.methods.published.mos_plus import MosPlus, PublishedMosPlusSettings
from hbo_plugin.methods.published.multidds import MultiDds, PublishedMultiDdsSettings
from hbo_plugin.methods.published.multiuat import MultiUat, PublishedMultiUatSettings
from hbo_plugin.methods.published.odm import Odm
from hbo_plugin.methods.published.pike import Pike
from hbo_plugin.methods.published.scalebio import PublishedScaleBioSettings, ScaleBio
from hbo_plugin.methods.published.tandem import PublishedTandemSettings, Tandem
from hbo_plugin.methods.published.target_loss import TargetLoss
from hbo_plugin.methods.random import RandomRewards
from hbo_plugin.methods.reading import SIGNALS
from hbo_plugin.methods.replay import Replay
from hbo_plugin.methods.static import Static

METHODS: Mapping[str, MethodClass] = {
    "hbo": Hbo,
    "mos": Mos,
    "mos_plus": MosPlus,
    "multidds": MultiDds,
    "multiuat": MultiUat,
    "odm": Odm,
    "pike": Pike,
    "dynamix": Dynamix,
    "doremi": DoReMi,
    "target_loss": TargetLoss,
    "tandem": Tandem,
    "scalebio": ScaleBio,
    "learning_progress": LearningProgress,
    "branches": Branches,
    "frontier": Frontier,
    "static": Static,
    "random": RandomRewards,
    "replay": Replay,
}

PUBLISHED: Mapping[str, type] = {
    "hbo": PublishedHboSettings,
    "mos": PublishedMosSettings,
    "mos_plus": PublishedMosPlusSettings,
    "multidds": PublishedMultiDdsSettings,
    "multiuat": PublishedMultiUatSettings,
    "tandem": PublishedTandemSettings,
    "scalebio": PublishedScaleBioSettings,
}
"""The settings of a method with `published: true`: they build the published actor."""

PARAMETERS = tuple(
    dict.fromkeys(
        name
        for settings in (*(method.Settings for method in METHODS.values()), *PUBLISHED.values())
        for name in parameters(settings)
    )
)
"""The parameters of all these methods. They stand at the top level of the `hbo:` block."""

__all__ = [
    "METHODS",
    "PARAMETERS",
    "PUBLISHED",
    "SIGNALS",
    "Method",
    "MethodClass",
    "RunFacts",
    "find_method",
    "find_settings",
    "make_method",
]


def make_method(name: str, rows: NDArray[np.int64], settings: object, run: RunFacts) -> Method:
    """Build the method `name`.

    Args:
        name: a name of the table, or the dotted path of a class.
        rows: int64[datasets, levels], the rows of every cell.
        settings: an instance of what `find_settings` returns.
        run: what the method may know of its run.

    Raises ValueError for a name, rows or settings that cannot be.
    """
    check_rows(rows)
    return find_method(name)(rows, settings, run)


def find_settings(name: str, *, published: bool = False) -> type:
    """Return the `Settings` of the method `name`, or those of its published form; ValueError where there is none."""
    if not published:
        return find_method(name).Settings
    if name not in PUBLISHED:
        message = (
            f"`hbo.published: true` was given with the method `{name}`, but only {listed(PUBLISHED)} have a published "
            "form; remove it."
        )
        raise ValueError(message)
    return PUBLISHED[name]


def find_method(name: str) -> MethodClass:
    """Return the class of the method `name`: a name of the table, or the dotted path of a class.

    Raises ValueError where there is no such method, or where the class lacks what a method needs.
    """
    if name in METHODS:
        return METHODS[name]
    if not name.rpartition(".")[0]:
        near = nearest(name, METHODS)
        hint = f"did you mean `{near}`?" if near else "`python -m hbo_plugin docs methods` describes them."
        message = (
            f"`hbo.method: {name}` was given, but it must be {listed(METHODS)}, or the dotted path of a class, as in "
            f"`my_package.MyMethod`; {hint}"
        )
        raise ValueError(message)
    found = imported("method", name)
    lacking = _lacking(found)
    if lacking:
        message = (
            f"`hbo.method: {name}` was given, but it {lacking}; `python -m hbo_plugin docs extending` shows what a "
            "method is."
        )
        raise ValueError(message)
    method: MethodClass = found
    return method


def _lacking(found: object) -> str:
    """What keeps `found` from being a method, as the end of a clause; empty where nothing does."""
    if not inspect.isclass(found):
        return f"is `{found!r}` and not a class"
    settings = getattr(found, "Settings", None)
    if not (inspect.isclass(settings) and is_dataclass(settings)):
        return "has no `Settings`, a dataclass of its parameters"
    for attribute in ("weights", "update", "state_dict", "load_state_dict"):
        if not callable(getattr(found, attribute, None)):
            return f"has no method `{attribute}`"
    try:
        inspect.signature(found).bind("rows", "settings", "run")
    except TypeError as error:
        return f"cannot be built from its rows, its settings and the run's facts ({error})"
    return ""
