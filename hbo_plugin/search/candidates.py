"""The candidates of a search: mixtures that give what the target leaves to some of the other datasets, or temperatures."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hbo_plugin.check.plan import Plan

EVEN = "rest even"
"""The mixture that candidates are compared with: target first, and the rest evenly."""
AS_IT_IS = "as it is"
"""The same where all datasets count: the user's own prior."""
_MOST, _PARTS = 10, 8
"""More datasets than this are tried in so many groups first."""
_PRIORS: tuple[Any, ...] = ("proportional", 2, 3, 5, "uniform")


@dataclass(frozen=True)
class Candidate:
    """One mixture to try.

    Attributes:
        name: of its arm.
        prior: as `hbo.prior` takes it.
        datasets: those that the rest goes to; none where all datasets count.
    """

    name: str
    prior: Any
    datasets: tuple[str, ...] = ()

    @property
    def changes(self) -> dict[str, Any]:
        """The keys of `hbo:` that differ from the user's."""
        return {"method": "static", "prior": self.prior, "record_steering": True}


@dataclass(frozen=True)
class Shares:
    """What target first comes to.

    Attributes:
        first: the weight of each dataset that counts.
        others: the other datasets.
        floor: the share of the rest that all of these have evenly, whoever is chosen.
    """

    first: dict[str, float]
    others: tuple[str, ...]
    floor: float

    @classmethod
    def of(cls, plan: Plan, floor: float) -> Shares:
        """Read them from what a run with target first would do."""
        first = {each.name: each.asked[0] for each in plan.datasets if each.counted}
        return cls(first, tuple(each.name for each in plan.datasets if not each.counted), floor)

    def to(self, chosen: Collection[str]) -> dict[str, float]:
        """Return the mixture that gives the rest to these."""
        rest = 1 - fsum(self.first.values())
        even = self.floor / len(self.others)
        extra = {name: (1 - self.floor) / len(chosen) if name in chosen else 0.0 for name in self.others}
        return self.first | {name: rest * (even + extra[name]) for name in self.others}

    @property
    def even(self) -> Candidate:
        """The mixture that gives it to all."""
        return Candidate(EVEN, self.to(self.others), self.others)

    def candidate(self, chosen: Sequence[str]) -> Candidate:
        """Return the mixture that gives it to these, with a name."""
        more = f" and {len(chosen) - 1} others" if len(chosen) > 3 else "".join(f" and {name}" for name in chosen[1:])
        return Candidate(f"rest to {chosen[0]}{more}", self.to(chosen), tuple(chosen))


def split(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return groups to try one by one: each alone where they are few."""
    if len(names) <= _MOST:
        return [(name,) for name in names]
    return [tuple(part.tolist()) for part in np.array_split(np.array(names, object), _PARTS)]


def priors(given: Any) -> list[Candidate]:
    """Return the user's own prior and the others, for data of which all counts."""
    own = Candidate(AS_IT_IS, given)
    named = [Candidate(f"temperature {prior}" if isinstance(prior, int) else prior, prior) for prior in _PRIORS]
    return [own, *(each for each in named if each.prior != given)]
