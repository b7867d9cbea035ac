"""Packing beside Axolotl's multipack: how full the bins are, how fast, and how late new weights act."""

from __future__ import annotations

import gc
import json
import time
from dataclasses import asdict, dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from hbo_plugin import MixtureSampler, PackedBatchSampler
from hbo_plugin.bench.packing_data import DEMO, SETS, lengths
from hbo_plugin.bench.report import environment
from hbo_plugin.packing import WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MICRO_BATCH = 4


@dataclass(frozen=True)
class PackingRow:
    """One packer on one set of rows, in batches of one shape."""

    data: str
    bins: str
    packer: str
    efficiency: float | None = None
    """Tokens in the bins over tokens that they can hold."""
    rows_per_second: float | None = None
    """Median by wall time, from nothing to lists of row numbers."""
    cpu: float | None = None
    """Median by CPU time."""
    delay: tuple[float, float] | None = None
    """Batches between the draw of a row and its own: mean, and the most of all."""
    note: str = ""


def packing_rows(rows: int, repeats: int) -> Iterator[PackingRow]:
    """Every set of rows in Axolotl's two shapes of packed batches."""
    for name, (_, sequence_len) in SETS.items():
        tokens = lengths(name, rows)
        if not len(tokens):
            yield PackingRow(name, "", "", note=f"there are no rows in `{DEMO}` here; `make demo` makes them")
            continue
        for bins, capacity in ((1, MICRO_BATCH * sequence_len), (MICRO_BATCH, sequence_len)):
            data, shape = f"{name}, mean {tokens.mean():.0f}", f"{bins} x {capacity:,}"
            yield _multipack(data, shape, tokens, rows, bins, capacity, repeats)
            for window in (WINDOW // 2, WINDOW, WINDOW * 2):
                yield _ours(data, shape, tokens, rows, bins, capacity, window, repeats)


def _stream(tokens: NDArray[np.int32]) -> MixtureSampler:
    return MixtureSampler([len(tokens)], [1], seed=0)


def _timed(repeats: int, run: Callable[[], Any]) -> tuple[float, float, Any]:
    """Median seconds by wall and by CPU, and what the run returned."""
    walls, cpus = [], []
    for _ in range(repeats):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        result = run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return median(walls), median(cpus), result


def _full(batches: list[list[list[int]]], tokens: NDArray[np.int32], capacity: int) -> tuple[float, int]:
    """Efficiency, and rows in the batches."""
    packed = [row for batch in batches for rows in batch for row in rows]
    return float(tokens[packed].sum()) / (sum(map(len, batches)) * capacity), len(packed)


def _multipack(
    data: str, shape: str, tokens: NDArray[np.int32], rows: int, bins: int, capacity: int, repeats: int
) -> PackingRow:
    """Axolotl's own, with its own settings, in one process; it packs the epoch once, where a run does so five times."""
    try:
        from axolotl.utils.samplers.multipack import MultipackBatchSampler
    except ImportError as error:
        return PackingRow(data, shape, "multipack", note=f"not installed: {error.name}")
    drawn = _stream(tokens).fill(0, rows).tolist()

    def run(drawn: list[int] = drawn) -> list[list[list[int]]]:
        return list(MultipackBatchSampler(drawn, bins, capacity, tokens, bin_size=200, num_processes=1))

    run(drawn[:1000])  # Numba compiles
    wall, cpu, batches = _timed(repeats, run)
    efficiency, _ = _full(batches, tokens, capacity)
    return PackingRow(data, shape, "multipack", efficiency, rows / wall, rows / cpu, note="plans all rows first")


def _ours(
    data: str, shape: str, tokens: NDArray[np.int32], rows: int, bins: int, capacity: int, window: int, repeats: int
) -> PackingRow:
    def run() -> list[list[list[int]]]:
        sampler = PackedBatchSampler(_stream(tokens), tokens, capacity=capacity, bins_per_batch=bins, window=window)
        batches = []
        for batch in sampler:
            batches.append(batch)
            if sampler.head >= rows:
                break
        return batches

    wall, cpu, batches = _timed(repeats, run)
    efficiency, packed = _full(batches, tokens, capacity)
    sampler = PackedBatchSampler(_stream(tokens), tokens, capacity=capacity, bins_per_batch=bins, window=window)
    delays = _delays(_stream(tokens), sampler, len(batches))
    name = f"hbo, window {window}{', the default' if window == WINDOW else ''}"
    spread = float(delays.mean()), float(delays.max())
    return PackingRow(data, shape, name, efficiency, packed / wall, packed / cpu, spread)


def _delays(stream: MixtureSampler, sampler: PackedBatchSampler, batches: int) -> NDArray[np.int64]:
    """Batches that every packed row waited."""
    drawn_in: dict[int, list[int]] = {}
    delays = []
    head = 0
    for number, batch in enumerate(islice(sampler, batches)):
        for row in stream.fill(head, sampler.head - head).tolist():
            drawn_in.setdefault(row, []).append(number)
        head = sampler.head
        delays += [number - drawn_in[row].pop(0) for rows in batch for row in rows]
    return np.array(delays)


def first_batch(rows: int) -> float:
    """Seconds to make a sampler over so many rows and take its first batch."""
    tokens = np.resize(lengths("instructions", 1000), rows)
    stream = _stream(tokens)
    wall, _, _ = _timed(3, lambda: next(iter(PackedBatchSampler(stream, tokens, capacity=8192))))
    return wall


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows, one repeat: about a minute.")
@click.option("--json", "json_to", type=click.Path(dir_okay=False), help="Write rows and environment; - is stdout.")
def packing(*, quick: bool, json_to: str | None) -> None:
    """Measure packing against Axolotl's multipack, on real distributions of lengths."""
    rows = list(packing_rows(30_000, 1) if quick else packing_rows(100_000, 5))
    seconds = first_batch(10**7)
    if json_to != "-":
        console = Console()
        if not console.is_terminal:
            console = Console(width=160)
        console.print(_table(rows), f"first batch over 10,000,000 rows: {seconds * 1e3:.1f} ms", sep="\n")
    if json_to:
        found = {"rows": [asdict(row) for row in rows], "first_batch_seconds": seconds, "environment": environment()}
        with click.open_file(json_to, "w") as file:
            file.write(json.dumps(found, indent=1) + "\n")


def _table(rows: list[PackingRow]) -> Table:
    table = Table(title="Packing", title_justify="left", title_style="bold")
    for header in (
        "lengths",
        "bins a batch",
        "packer",
        "efficiency",
        "rows/s",
        "by CPU time",
        "delay, batches",
        "note",
    ):
        table.add_column(header)
    for row in rows:
        table.add_row(
            row.data,
            row.bins,
            row.packer,
            "-" if row.efficiency is None else f"{row.efficiency:.2%}",
            *("-" if rate is None else f"{rate:,.0f}" for rate in (row.rows_per_second, row.cpu)),
            "" if row.delay is None else f"{row.delay[0]:.2f}, at most {row.delay[1]:.0f}",
            row.note,
            style="bold" if "default" in row.packer else None,
        )
    return table
