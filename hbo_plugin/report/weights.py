"""The weights of a run as a block of YAML that fixes them in the next one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hbo_plugin.history import History

_DIGITS = 4
"""Of a weight, that count."""


def as_yaml(history: History, *, last: bool) -> str:
    """The weights of the datasets with their `unit`, under `hbo:`.

    Args:
        history: of a run.
        last: those at the end of its trace, and not their mean over the last half of its steps.
    """
    *_, end = history.states
    if last:
        what, weights = f"The weights after step {end.step}.", end.weights
    else:
        what, weights = (
            f"The mean of the weights over the last half of {end.step} steps.",
            history.mean_weights(end.step / 2),
        )
    shares = [sum(weights[name]) for name in history.datasets]
    # A quoted name of JSON is one of YAML, whatever is in it; 1e-05 is no number of YAML.
    numbers = [format(Decimal(format(share, f".{_DIGITS}g")), "f") for share in shares]
    named = [
        f"    {json.dumps(name, ensure_ascii=False)}: {number}"
        for name, number in zip(history.datasets, numbers, strict=True)
    ]
    return "\n".join([f"# {what}", "hbo:", f"  unit: {end.unit}", "  weights:", *named])
