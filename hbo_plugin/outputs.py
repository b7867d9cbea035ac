"""Where a command writes: the options `--json`, `--plot` and `--html`, whose paths are checked before any work is done."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import click

STDOUT = Path("-")
PICTURES = (".png", ".jpg", ".svg", ".pdf")


def _writable(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Try to write, and leave the disk as it was."""
    if path is None or path == STDOUT:
        return path
    try:
        if path.exists():
            path.open("ab").close()
        else:
            TemporaryFile(dir=path.parent).close()
    except OSError as error:
        msg = (
            f"`{option.opts[0]} {path}` was given, but that file cannot be written ({error.strerror}): "
            f"name one in a folder that exists and that you may write to."
        )
        raise click.ClickException(msg) from error
    return path


def _picture(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Look for matplotlib too, without the time that its import takes."""
    if path is None:
        return None
    if path.suffix.lower() not in PICTURES:
        msg = f"`{option.opts[0]} {path}` was given, but a picture ends in {', '.join(PICTURES)}: choose one of these."
        raise click.ClickException(msg)
    _require("matplotlib", option, path)
    return _writable(context, option, path)


def _page(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Look for what draws a page, as for a picture."""
    if path is None:
        return None
    for package in ("plotly", "jinja2"):
        _require(package, option, path)
    return _writable(context, option, path)


def _require(package: str, option: click.Parameter, path: Path) -> None:
    if find_spec(package) is None:
        msg = (
            f"`{option.opts[0]} {path}` was given, but {package}, which draws it, is not installed: "
            f"run `pip install 'axolotl-hbo[plot]'`."
        )
        raise click.ClickException(msg)


json_option = click.option(
    "--json",
    "json_to",
    type=click.Path(path_type=Path),
    callback=_writable,
    help="Write the numbers as JSON; `-` is stdout, without the tables.",
)
plot_option = click.option(
    "--plot",
    "plot_to",
    type=click.Path(path_type=Path),
    callback=_picture,
    help="Draw a picture too; needs matplotlib.",
)
html_option = click.option(
    "--html",
    "html_to",
    type=click.Path(path_type=Path),
    callback=_page,
    help="Write a page for a browser too; needs plotly.",
)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one object to a file, or to stdout where the path is `-`."""
    with click.open_file(str(path), "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
