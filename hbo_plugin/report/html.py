"""The page: one HTML file that holds the figures and tables of runs, and all that a browser needs to show them."""

from __future__ import annotations

import base64
import gzip
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from hbo_plugin.report import several
from hbo_plugin.report.sections import RunPage
from hbo_plugin.trace import TRACE_FILE, Trace, costs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markupsafe import Markup

_FOLDER = files("hbo_plugin") / "report"


def read(folder: Path) -> RunPage:
    """A run from its output folder.

    Raises:
        ValueError: no run of this version wrote a file of it.
    """
    return RunPage(str(folder), Trace(folder / TRACE_FILE).history(), costs(folder))


def write(runs: Sequence[RunPage], path: Path) -> None:
    """Write the page of a run, or one that compares several; needs plotly and jinja2, from the extra `plot`."""
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["code"] = _code
    template = environment.from_string((_FOLDER / "page.html").read_text(encoding="utf-8"))
    # Compressed, plotly is a third of its size; every browser since 2023 can unpack it.
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    page = template.render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        runs=runs,
        comparison=[*several.sections(runs)] if len(runs) > 1 else [],
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=(_FOLDER / "page.js").read_text(encoding="utf-8"),
        plotly=packed,
    )
    path.write_text(page, encoding="utf-8")


def _code(text: str) -> Markup:
    """A sentence, what stands in backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 it is escaped
