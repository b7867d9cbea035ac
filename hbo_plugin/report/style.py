"""The look of the figures of a page: colours, dashes, axes. Colours that depend on light or dark come from the page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Of Okabe and Ito, which colour-blind people tell apart; without black and yellow, so that all show on light and on dark."""
DASHES = ("solid", "dash", "dot")
INK = "rgb(1, 2, 3)"
"""What the page draws in its own text colour: its style sheet looks for this value."""
OTHERS = "#8a8f98"


@dataclass(frozen=True)
class Key:
    """How a line looks, and what it is."""

    name: str
    colour: str
    dash: str = "solid"

    @property
    def line(self) -> dict[str, Any]:
        """As plotly has it."""
        return {"color": self.colour, "dash": self.dash, "width": 2}

    @property
    def css(self) -> str:
        """The colour, as the page has it."""
        return "var(--ink)" if self.colour == INK else self.colour

    @property
    def label(self) -> str:
        """The name in a figure, which reads tags of HTML; a long one is cut, and the tables have it whole."""
        return escape(self.name if len(self.name) <= 28 else f"{self.name[:27]}…", quote=False)


@dataclass(frozen=True)
class Drawn:
    """A figure of plotly, and what its colours mean."""

    figure: Any
    keys: Sequence[Key] = ()
    title: str = ""

    @property
    def height(self) -> int:
        """In pixels; the width is that of the screen."""
        height: int = self.figure.layout.height
        return height

    @property
    def json(self) -> str:
        """As plotly reads it, without what would end a script element."""
        text: str = self.figure.to_json()
        return text


def keys(names: Iterable[str]) -> dict[str, Key]:
    """A look for each name."""
    return {
        name: Key(name, COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)])
        for index, name in enumerate(names)
    }


def of_others(count: int) -> dict[str, Key]:
    """The look of so many others, which are shown as one."""
    name = f"{count} others"
    return {name: Key(name, OTHERS, "dot")} if count else {}


def new(traces: Iterable[Any], *, height: int = 300, x: str = "optimizer step", y: str = "", **layout: Any) -> Any:
    """A figure of these traces in the look of the page; `layout` is more of plotly's."""
    import plotly.graph_objects as go

    figure = go.Figure(list(traces))
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 56, "r": 12, "t": 12, "b": 44},
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 12},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hovermode="x unified",
        hoverlabel={"bgcolor": "white"},  # the page has another in the dark, but would see through none at all
        dragmode=False,
    )
    axis = {
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "ticks": "",
        "ticklabelstandoff": 6,
        "title": {"standoff": 8},
    }
    figure.update_xaxes(**axis, showgrid=False)
    figure.update_yaxes(**axis)
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    figure.update_layout(**layout)
    return figure


def shade(level: int, levels: int) -> str:
    """A colour of one level: the darker, the harder."""
    part = (level + 1) / levels
    return "#{:02x}{:02x}{:02x}".format(
        *(round(light + (dark - light) * part) for light, dark in zip((208, 228, 244), (0, 84, 140), strict=True))
    )
