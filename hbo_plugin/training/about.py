"""About a run: what the first line of its trace says of it, so that the trace explains itself."""

from __future__ import annotations

import math
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hbo_plugin._sampler import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data.load import RunData
    from hbo_plugin.training.balancer import Balancer

_PACKAGES = ("axolotl", "torch", "transformers", "accelerate")


def about(balancer: Balancer, config: HBOConfig, data: RunData, *, steps: int, notes: Sequence[str]) -> dict[str, Any]:
    """Describe a run that was not begun yet, as plain JSON values; docs/logs.md has each key.

    Args:
        balancer: new.
        config: the `hbo:` block.
        data: what is trained on.
        steps: of the whole run.
        notes: what the user should know, a sentence each.
    """
    names = balancer.cells.names
    caps = config.epochs_of(names, balancer.average_epochs, data.watched)
    return {
        "steps": steps,
        "kind": data.kind.written,
        "prior": dict(zip(names, balancer.method.weights().sum(axis=1).tolist(), strict=True)),
        "max_epochs": {name: cap if math.isfinite(cap) else None for name, cap in zip(names, caps, strict=True)},
        "config": config.effective(),
        "notes": [*notes],
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Of hbo, Python, and the packages that train, where they are installed."""
    found = {"hbo": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):  # a checkout on the path
            found[name] = version(name)
    return found
