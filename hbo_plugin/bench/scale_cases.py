"""The cases of `bench scale`: a step, new weights, a checkpoint, what ranks exchange, a resume, and what is refused.

All times are those of the processor: what else runs on the machine counts less in them.
"""

from __future__ import annotations

import time
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin import MixtureSampler, PackedBatchSampler, RowSampler
from hbo_plugin.bench.planners import PLANNERS, planned
from hbo_plugin.bench.played import MICRO_BATCH, SEQUENCE_LEN, PlayedRun, cells_of
from hbo_plugin.bench.scale_plan import Figure, Place, Plan
from hbo_plugin.training.state_file import STATE_FILE, TENSORS_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells

BETWEEN = 4096
"""Draws between two changes of weights."""


@lru_cache(1)
def _lengths(rows: int) -> NDArray[np.int32]:
    return np.resize(np.random.default_rng(0).integers(16, SEQUENCE_LEN + 1, 1 << 20, np.int32), rows)


def _cells(place: Place, plan: Plan) -> Cells:
    own = place.rows <= plan.lengths
    lengths = _lengths(place.rows) if own else np.broadcast_to(np.int32(SEQUENCE_LEN // 2), (place.rows,))
    return cells_of(place.rows, place.cells, lengths)


def figures(plan: Plan, say: Callable[[str], None]) -> Iterator[Figure]:
    """All that is measured; `say` is told what is being measured."""
    with TemporaryDirectory() as folder:
        for place in plan.places:
            say(f"a step, {place}")
            yield from _steps(place, plan, Path(folder))
        for cells in plan.cells:
            place = Place(plan.base.ranks, plan.base.rows, cells)
            say(f"changes of weights, {place}")
            yield from _changes(place, plan, Path(folder))
        for ranks in plan.ranks:
            yield _comparison(Place(ranks, plan.base.rows, plan.base.cells), plan, Path(folder))
        for rows in plan.resumed:
            place = Place(plan.base.ranks, rows, plan.base.cells)
            say(f"a resume, {place}")
            yield _resume(place, plan, Path(folder))
    for rows in plan.planned:
        say(f"the first row of {rows:,}")
        yield from _planned(rows)


def _steps(place: Place, plan: Plan, folder: Path) -> Iterator[Figure]:
    """Steps of the first and of the last rank, by the plugin's batchers and by the samplers for other loops."""
    question = "a step of one rank: draw, share out and count"
    cells = _cells(place, plan)
    for packed in (False, True):
        name = "packed batches" if packed else "rows"
        if packed and place.rows > plan.lengths:
            note = f"not packed: the lengths would take {4 * place.rows / 1e9:,.0f} GB"
            yield Figure(question, name, place.ranks, place.rows, place.cells, "s", note=note)
            continue
        values, drawn = [], 0
        for rank in dict.fromkeys((0, place.ranks - 1)):
            run = PlayedRun(cells, place.ranks, plan.repeats + 1, folder, packed=packed)
            values += _timed(partial(next, run.steps(rank)), plan.repeats)
            drawn = int(run.balancer.trained / (plan.repeats + 1))
        yield Figure.of(question, name, place, "s", values, f"{drawn:,} rows on all ranks together")
    mixture = MixtureSampler(cells.sizes.ravel(), cells.sizes.ravel(), seed=0)
    rows = RowSampler(mixture, rank=place.ranks - 1, ranks=place.ranks)
    yield Figure.of(question, "RowSampler", place, "s", _timed(lambda: [*islice(rows, MICRO_BATCH)], plan.repeats))
    if place.rows <= plan.lengths:
        capacity = MICRO_BATCH * SEQUENCE_LEN
        bins = PackedBatchSampler(mixture, cells.lengths, capacity=capacity, rank=place.ranks - 1, ranks=place.ranks)
        yield Figure.of(question, "PackedBatchSampler", place, "s", _timed(bins.take, plan.repeats))


def _changes(place: Place, plan: Plan, folder: Path) -> Iterator[Figure]:
    """Many changes of weights, and what a run that had them keeps, exchanges and logs."""
    run = PlayedRun(_cells(place, plan), place.ranks, (plan.changes + 1) * BETWEEN, folder, packed=False)
    next(run.steps(0))
    taken = []
    for change in range(1, plan.changes + 1):
        begun = time.process_time()
        run.update(change * BETWEEN)
        taken.append(time.process_time() - begun)
    few = max(1, plan.changes // 100)
    note = f"of {plan.changes:,} changes"
    yield Figure.of("new weights", "the first hundredth", place, "s", taken[:few], note)
    yield Figure.of("new weights", "the last hundredth", place, "s", taken[-few:], note)

    kept = folder / "checkpoint"
    yield Figure.of("a checkpoint", "to write", place, "s", _timed(lambda: run.save(kept), 3), "by rank 0")
    yield Figure.of("a checkpoint", "to read", place, "s", _timed(lambda: run.load(kept), 3))
    for name in (STATE_FILE, TENSORS_FILE):
        yield Figure.of("a checkpoint", name, place, "B", [(kept / name).stat().st_size])

    before = run.wire.received
    run.add_up()
    yield Figure.of(
        "received by a rank", "sums of a step that `reuse` looks at", place, "B", [run.wire.received - before]
    )
    yield Figure.of("a log", "a line of scalars", place, "s", _timed(lambda: run.journal.scalars({}), 3))
    yield Figure.of("a log", "an update in the trace", place, "B", [run.record()])


def _comparison(place: Place, plan: Plan, folder: Path) -> Figure:
    """What the comparison of ranks at an update takes."""
    run = PlayedRun(_cells(place, plan), place.ranks, 2, folder, packed=False)
    next(run.steps(0))
    run.compare()
    return Figure.of("received by a rank", "the comparison of ranks at an update", place, "B", [run.wire.received])


def _resume(place: Place, plan: Plan, folder: Path) -> Figure:
    """From reading the checkpoint of a run in the middle of its first epoch to the first batch."""
    half = place.rows // 2 // (MICRO_BATCH * place.ranks)
    run = PlayedRun(_cells(place, plan), place.ranks, 2 * half, folder, packed=False)
    head = half * MICRO_BATCH * place.ranks
    run.go_to(head)
    run.save(folder / "checkpoint")
    begun = time.process_time()
    run.load(folder / "checkpoint")
    next(run.batches(0, half))
    note = f"{head:,} rows are taken and thrown away"
    return Figure.of("a resume, up to the first batch", "rows", place, "s", [time.process_time() - begun], note)


def _planned(rows: int) -> Iterator[Figure]:
    """The first row under new weights, beside samplers that plan an epoch for it."""
    question, place = "the first row under new weights", Place(8, rows, 2)
    for name in PLANNERS:
        seconds, grown, refused = planned(name, rows)
        if refused:
            yield Figure(question, name, place.ranks, rows, place.cells, "s", note=refused)
        else:
            yield Figure.of(question, name, place, "s", [seconds])
            yield Figure.of(f"{question}: memory", name, place, "B", [grown * 1e6])


def refusals() -> Iterator[tuple[str, str]]:
    """What is asked that is too large, and the message that comes."""
    asked: dict[str, Callable[[], object]] = {
        "a cell of 2^31 + 1 rows": lambda: MixtureSampler([2**31 + 1], [1], seed=0),
        "1e12 rows in 8 cells": lambda: MixtureSampler([10**12 // 8] * 8, [1] * 8, seed=0),
        "65,537 cells": lambda: MixtureSampler([1] * 65_537, [1] * 65_537, seed=0),
        "a draw at position 2^53": lambda: MixtureSampler([1], [1], seed=0).fill(2**53, 1),
        "the lengths of 1e12 rows in memory": lambda: np.empty(10**12, np.int32),
        "65,537 ranks that pack": lambda: PackedBatchSampler(
            MixtureSampler([1], [1], seed=0), np.ones(1, np.int32), capacity=8, ranks=65_537
        ),
    }
    for what, ask in asked.items():
        yield what, _message(ask)


def _message(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (ValueError, MemoryError) as error:
        return str(error)
    return "not refused on this machine"


def _timed(run: Callable[[], object], count: int) -> list[float]:
    """Seconds of the processor that each call takes, without a first one, which fetches what the others find in the processor's cache."""
    taken = []
    for _ in range(count + 1):
        begun = time.process_time()
        run()
        taken.append(time.process_time() - begun)
    return taken[1:]
