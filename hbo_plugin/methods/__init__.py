"""The table of methods: each turns signals into weights. NumPy only: no torch and no Axolotl in this folder."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hbo_plugin.methods.base import Method
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.reference import HboReference
from hbo_plugin.methods.static import Static

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Each is called with the rows of every cell, int64[datasets, levels], and the settings of its class as keywords.
# `hbo_reference` is what `hbo` with `reference: true` means; users do not write it.
METHODS: Mapping[str, Callable[..., Method]] = {
    "hbo": Hbo,
    "hbo_reference": HboReference,
    "proportional": partial(Static, temperature=1.0),
    "temperature": Static,
    "uniform": partial(Static, temperature=float("inf")),
}

__all__ = ["METHODS", "Method"]
