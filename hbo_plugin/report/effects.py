"""Effects: what each dataset did for each held-out set of the target, as it was measured over a run, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hbo_plugin.history import Measured

_ERRORS: Mapping[str, tuple[str, Callable[[float], float]]] = {
    "branch_effect": ("branch_error", float),
    "transfer": ("transfer_variance", math.sqrt),
}
"""Of each signal that is an effect: the signal that its standard error follows from, and how."""


@dataclass(frozen=True)
class Effect:
    """One measurement.

    Attributes:
        signal: `branch_effect` in nats, or `transfer`.
        dataset: whose it is.
        held_out: a set of the target.
        step: optimizer steps made.
        value: of the signal.
        error: its standard error; None where it is not known.
    """

    signal: str
    dataset: str
    held_out: str
    step: int
    value: float
    error: float | None


def effects(measured: Iterable[Measured]) -> Iterator[Effect]:
    """Every effect that was measured, in the order of the run."""
    for each in measured:
        for signal, (error, as_error) in _ERRORS.items():
            for dataset, of_sets in each.signals.get(signal, {}).items():
                for held_out, value in of_sets.items():
                    if value is not None:
                        found = each.signals[error][dataset][held_out]
                        yield Effect(signal, dataset, held_out, each.step, value, found and as_error(found))


def by_pair(found: Iterable[Effect]) -> dict[tuple[str, str, str], list[Effect]]:
    """The effects of each signal, dataset and held-out set, in the order of the run."""
    pairs: dict[tuple[str, str, str], list[Effect]] = {}
    for effect in found:
        pairs.setdefault((effect.signal, effect.dataset, effect.held_out), []).append(effect)
    return pairs
