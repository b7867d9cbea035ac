"""How large the runs of `bench scale` are, and the form of what is measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Unit = Literal["s", "B"]


@dataclass(frozen=True)
class Place:
    """The size of a run."""

    ranks: int
    rows: int
    cells: int

    def __str__(self) -> str:
        return f"{self.ranks:,} ranks, {self.rows:,} rows, {self.cells:,} cells"


@dataclass(frozen=True)
class Figure:
    """One number; `value` is None where there is none, and `note` says why."""

    question: str
    name: str
    ranks: int
    rows: int
    cells: int
    unit: Unit
    value: float | None = None
    """Median over the repeats."""
    spread: tuple[float, float] | None = None
    """Least and greatest of them."""
    note: str = ""

    @classmethod
    def of(cls, question: str, name: str, place: Place, unit: Unit, values: Sequence[float], note: str = "") -> Figure:
        """From the values of the repeats."""
        spread = (min(values), max(values))
        return cls(question, name, place.ranks, place.rows, place.cells, unit, median(values), spread, note)


@dataclass(frozen=True)
class Plan:
    """How large the runs are: one number varies while the others are those of `base`, and one run has all at their most."""

    base: Place
    ranks: Sequence[int]
    rows: Sequence[int]
    cells: Sequence[int]
    changes: int
    """Of weights."""
    repeats: int
    lengths: int
    """Rows up to which each has a length of its own, 4 bytes a row. Above, one number stands for all, and none are packed."""
    resumed: Sequence[int]
    """Rows of the runs that are resumed in the middle of an epoch."""
    planned: Sequence[int]
    """Rows of the epochs that peers plan."""

    @cached_property
    def places(self) -> list[Place]:
        """Each once."""
        base = self.base
        varied = [
            *(Place(ranks, base.rows, base.cells) for ranks in self.ranks),
            *(Place(base.ranks, rows, base.cells) for rows in self.rows),
            *(Place(base.ranks, base.rows, cells) for cells in self.cells),
        ]
        return [*dict.fromkeys([*varied, Place(self.ranks[-1], self.rows[-1], self.cells[-1])])]


FULL = Plan(
    base=Place(64, 10**9, 512),
    ranks=(1, 8, 64, 512, 4096),
    rows=(10**6, 10**9, 10**12),
    cells=(8, 512, 65_536),
    changes=10_000,
    repeats=20,
    lengths=10**9,
    resumed=(10**6, 10**7, 10**8),
    planned=(10**6, 10**7, 10**8),
)
QUICK = Plan(
    base=Place(8, 10**6, 512),
    ranks=(1, 512),
    rows=(10**6, 10**12),
    cells=(8, 512),
    changes=10,
    repeats=5,
    lengths=10**6,
    resumed=(10**6,),
    planned=(),
)
