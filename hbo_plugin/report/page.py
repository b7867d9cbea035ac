"""The parts of a page, whatever it is about; page.html lays them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hbo_plugin.report.style import Drawn
    from hbo_plugin.report.tables import Cell, Table


@dataclass(frozen=True)
class Section:
    """A part of a page; `folded` parts are there on demand, and `code` stands as it is."""

    title: str
    text: str = ""
    figures: Sequence[Drawn] = ()
    table: Table | None = None
    folded: Sequence[Section] = ()
    notes: Sequence[str] = ()
    code: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Tile:
    """A number that a reader looks for first."""

    title: str
    cell: Cell
    text: str = ""


@dataclass(frozen=True)
class Page:
    """A page, or a part of one that is folded away.

    Attributes:
        kind: what wrote it.
        title: above all.
        sections: in their order.
        tiles: the numbers above them.
        status: how far it came, a sentence; empty where there is nothing to say.
        ended: whether that is the end.
        parts: pages inside it.
    """

    kind: str
    title: str
    sections: Sequence[Section]
    tiles: Sequence[Tile] = ()
    status: str = ""
    ended: bool = True
    parts: Sequence[Page] = ()
