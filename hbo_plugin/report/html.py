"""The file of a page: HTML that holds figures and tables, and all that a browser needs to show them."""

from __future__ import annotations

import base64
import gzip
import re
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from markupsafe import Markup

    from hbo_plugin.report.page import Page

_FOLDER = files("hbo_plugin") / "report"


def write(page: Page, path: Path) -> None:
    """Write a page; needs plotly and jinja2, from the extra `plot`."""
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["code"] = _code
    template = environment.from_string((_FOLDER / "page.html").read_text(encoding="utf-8"))
    # Compressed, plotly is a third of its size; every browser since 2023 can unpack it.
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    text = template.render(
        page=page,
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
        plotly=packed,
    )
    path.write_text(text, encoding="utf-8")


def _code(text: str) -> Markup:
    """A sentence, what stands in backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 it is escaped
