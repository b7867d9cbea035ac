"""Packing on the demo's rows too: short puzzles of six kinds, which a wheel does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hbo_plugin.bench.packing_cases import measure_packing
from hbo_plugin.bench.packing_data import SETS, LengthSet, count_tokens
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

DEMO = Path("demo/data/train")


def demo() -> Iterator[int]:
    """Lengths of the demo's rows."""
    for path in sorted(DEMO.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            chat = [message["content"] for message in row.get("messages", ())]
            texts = [*chat, *(row.get(key, "") for key in ("instruction", "input", "output", "text"))]
            yield sum(map(count_tokens, texts))


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows, one repeat: about a minute.")
@json_option
def packing(*, quick: bool, json_to: Path | None) -> None:
    """Measure packing as `python -m hbo_plugin bench packing` does, and on the demo's rows as well."""
    if not next(demo(), 0):
        msg = f"there are no rows in `{DEMO}`, on which packing is measured: run `make demo` in this folder first."
        raise click.ClickException(msg)
    measure_packing({"demo": LengthSet(demo, 256), **SETS}, json_to, quick=quick)
