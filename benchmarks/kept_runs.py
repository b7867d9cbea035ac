"""Runs that are kept, each in a file of its own, so that a benchmark of hours can be stopped and goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.progress import track

from hbo_plugin.bench.report import environment
from hbo_plugin.outputs import STDOUT, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

Result = TypeVar("Result", bound=Any)
Command = TypeVar("Command", bound="Callable[..., Any]")

earlier_option = click.option(
    "--earlier",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What an earlier call wrote by `--json`; its runs count, and are not made again.",
)


def out_option(default: str) -> Callable[[Command], Command]:
    """The option `--out`, with a folder that it is otherwise."""
    return click.option(
        "--out",
        default=Path(default),
        type=click.Path(path_type=Path, file_okay=False),
        show_default=True,
        help="Folder of the finished runs, which are not made again.",
    )


def earlier_runs(path: Path | None) -> Any:
    """What an earlier call wrote of its runs; nothing where there was none."""
    return [] if path is None else json.loads(path.read_text(encoding="utf-8"))["runs"]


def claimed(path: Path) -> Iterator[Path]:
    """The path, once, if nothing is there and no other process is making it; the system unlocks what a dead one had."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            if not path.exists():
                yield path
    except Timeout:
        return


def write_finished(path: Path, result: dict[str, Any]) -> None:
    """Write what a run came to, whole or not at all."""
    unfinished = path.with_suffix(".unfinished")
    write_json(unfinished, result)
    unfinished.replace(path)


def all_runs(
    of: type[Result],
    key: Callable[[Result], Hashable],
    wanted: Mapping[Any, str],
    make: Callable[..., Result],
    out: Path,
    earlier: Path | None,
) -> list[Result]:
    """Make the runs that are not kept yet, and return all that are; several processes can do so at once.

    Args:
        of: the dataclass of what a run came to.
        key: of a result.
        wanted: the keys of the runs, in the order in which they are made, each with the name of its file.
        make: makes a run; it is given its key.
        out: the folder of the finished runs.
        earlier: what an earlier call wrote.
    """
    out.mkdir(parents=True, exist_ok=True)
    there = kept_runs(of, key, out, earlier)
    left = [run for run in wanted if run not in there]
    for run in track(left, "runs", console=Console(stderr=True), transient=True):
        for path in claimed(out / f"{wanted[run]}.json"):
            write_finished(path, asdict(make(*run)))
    return [*kept_runs(of, key, out, earlier).values()]


def tell(rows: Sequence[Any], runs: Sequence[Any], show: Callable[[Any], None], json_to: Path | None) -> None:
    """Show what runs came to, or write it beside them, as `--json` says."""
    if json_to != STDOUT:
        show(rows)
    if json_to is not None:
        written = {"rows": [*map(asdict, rows)], "runs": [*map(asdict, runs)]}
        write_json(json_to, written | {"environment": environment()})


def kept_runs(
    of: Callable[..., Result], key: Callable[[Result], Hashable], out: Path, earlier: Path | None
) -> dict[Hashable, Result]:
    """Return the runs of an earlier call, and those in a folder that it had not, by their keys.

    Args:
        of: makes a result of what was written.
        key: of a result.
        out: the folder.
        earlier: what an earlier call wrote.
    """
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    found: dict[Hashable, Result] = {}
    for each in (of(**run) for run in [*earlier_runs(earlier), *files]):
        found.setdefault(key(each), each)
    return found
