"""Packing beside Axolotl's multipack: how full the bins are, how fast, and how late a drawn row is trained on."""

from __future__ import annotations

import gc
import time
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

import click
import numpy as np

from hbo_plugin import MixtureSampler, PackedBatchSampler
from hbo_plugin.bench.measure import Row, Unit
from hbo_plugin.bench.packing_data import SETS
from hbo_plugin.bench.report import publish
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hbo_plugin.bench.packing_data import LengthSet

    Batches = list[list[list[int]]]

MICRO_BATCH = 4
OURS, MULTIPACK = "hbo", "Axolotl's multipack"


def packing_rows(sets: Mapping[str, LengthSet], rows: int, repeats: int) -> Iterator[Row]:
    """Every set of lengths in Axolotl's two shapes of packed batches."""
    for name, source in sets.items():
        tokens, sequence_len = source.lengths(rows), source.sequence_len
        for bins, capacity in ((1, MICRO_BATCH * sequence_len), (MICRO_BATCH, sequence_len)):
            case = f"{name}, batches of {bins} x {capacity:,} tokens"
            yield from _compared(case, tokens, rows, bins, capacity, repeats)


def _compared(case: str, tokens: NDArray[np.int32], rows: int, bins: int, capacity: int, repeats: int) -> Iterator[Row]:
    """Efficiency and speed of both packers, and the delay of ours: multipack plans all rows before the first step."""
    found = {OURS: _measured(_ours, tokens, rows, bins, capacity, repeats)}
    missing = ""
    try:
        found[MULTIPACK] = _measured(_multipack, tokens, rows, bins, capacity, repeats)
    except ImportError as error:
        missing = f"not installed: {error.name}"
    kinds: tuple[tuple[str, Unit], ...] = (("efficiency", "share"), ("speed", "rows/s"))
    for kind, unit in kinds:
        yield _row(f"{kind}, {case}", OURS, unit, *found[OURS][unit])
        yield _row(f"{kind}, {case}", MULTIPACK, unit, *found.get(MULTIPACK, {}).get(unit, ()), note=missing)
    delays = _delays(_stream(tokens), PackedBatchSampler(_stream(tokens), tokens, capacity=capacity), rows, bins)
    mean, least, most = (float(each) for each in (delays.mean(), delays.min(), delays.max()))
    case, note = f"delay of a row, {case}", "the mean of all rows"
    yield Row(case, OURS, ours=True, unit="batches", value=mean, spread=(least, most), note=note)


def _row(
    case: str, name: str, unit: Unit, values: Sequence[float] = (), cpu: Sequence[float] = (), *, note: str = ""
) -> Row:
    if not values:
        return Row(case, name, name == OURS, unit, note=note)
    spread = (min(values), max(values))
    return Row(case, name, name == OURS, unit, median(values), spread, median(cpu) if cpu else None, note)


def _measured(
    packer: Callable[[NDArray[np.int32], int, int, int], Batches],
    tokens: NDArray[np.int32],
    rows: int,
    bins: int,
    capacity: int,
    repeats: int,
) -> dict[str, tuple[list[float], ...]]:
    """By unit: efficiency; and rows a second of each repeat, by wall and by CPU time."""
    packer(tokens, 1000, bins, capacity)  # Numba compiles
    walls, cpus = [], []
    for _ in range(repeats):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        batches = packer(tokens, rows, bins, capacity)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        packed = [row for batch in batches for bin_ in batch for row in bin_]
        walls.append(len(packed) / wall)
        cpus.append(len(packed) / cpu)
    efficiency = float(tokens[packed].sum()) / (sum(map(len, batches)) * capacity)
    return {"share": ([efficiency],), "rows/s": (walls, cpus)}


def _stream(tokens: NDArray[np.int32]) -> MixtureSampler:
    return MixtureSampler([len(tokens)], [1], seed=0)


def _multipack(tokens: NDArray[np.int32], rows: int, bins: int, capacity: int) -> Batches:
    """With its own settings, in one process; it packs the rows once, where a run does so five times."""
    from axolotl.utils.samplers.multipack import MultipackBatchSampler

    drawn = _stream(tokens).fill(0, rows).tolist()
    return list(MultipackBatchSampler(drawn, bins, capacity, tokens, bin_size=200, num_processes=1))


def _ours(tokens: NDArray[np.int32], rows: int, bins: int, capacity: int) -> Batches:
    sampler = PackedBatchSampler(_stream(tokens), tokens, capacity=capacity)
    batches = []
    while sampler.head < rows:
        batches.append(list(islice(sampler, bins)))
    return batches


def _delays(stream: MixtureSampler, sampler: PackedBatchSampler, rows: int, bins: int) -> NDArray[np.int64]:
    """Batches between the draw of each row and its own, for so many rows."""
    drawn_in: dict[int, list[int]] = {}
    delays: list[int] = []
    head = number = 0
    while head < rows:
        batch = list(islice(sampler, bins))
        for row in stream.fill(head, sampler.head - head).tolist():
            drawn_in.setdefault(row, []).append(number)
        head = sampler.head
        delays += [number - drawn_in[row].pop(0) for bin_ in batch for row in bin_]
        number += 1
    return np.array(delays)


def first_batch(rows: int, repeats: int) -> Row:
    """Time to make a sampler over so many rows and take its first batch."""
    tokens = np.resize(SETS["instructions"].lengths(1000), rows)
    stream = _stream(tokens)
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        list(islice(PackedBatchSampler(stream, tokens, capacity=8192), 1))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return _row(f"first batch, {rows:,} rows", OURS, "s", walls, cpus)


def measure_packing(sets: Mapping[str, LengthSet], json_to: Path | None, *, quick: bool) -> None:
    """Measure packing on some sets of lengths, and show what was found."""
    rows = list(packing_rows(sets, 30_000, 1) if quick else packing_rows(sets, 100_000, 5))
    publish([*rows, first_batch(10**7, 3)], json_to)


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows, one repeat: about a minute.")
@json_option
def packing(*, quick: bool, json_to: Path | None) -> None:
    """Measure packing against Axolotl's multipack, on real distributions of lengths."""
    measure_packing(SETS, json_to, quick=quick)
