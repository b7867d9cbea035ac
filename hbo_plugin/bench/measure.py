"""Timing: every contender in turn, again and again, so that what slows the machine slows all of them."""

from __future__ import annotations

import gc
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from hbo_plugin.bench.contender import Contender, Mixture, UnableError
from hbo_plugin.bench.limit import limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Unit = Literal["draws/s", "rows/s", "share", "s", "MB", "batches"]


@dataclass(frozen=True)
class Plan:
    """How long to measure, and when to give up on a contender."""

    repeats: int
    seconds: float
    """That one repeat lasts, unless one call of the task lasts longer."""
    patience: float
    """Seconds that a peer may take to be made and called once, and for a repeat; after so many, nobody is asked for another."""
    memory: float
    """Bytes that a contender may need."""


@dataclass(frozen=True)
class Task:
    """What is timed, and a remark for its row."""

    run: Callable[[], object]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """One question, asked of all contenders."""

    kind: str
    rows: int
    make: Callable[[type[Contender]], Task]
    """Raises `UnableError` where the contender cannot answer."""
    draws: int | None = None
    """That one call of the task makes: their rate is what is asked. Without, the time of a call is."""
    alone: bool = False
    """Asked of our own modes only."""

    @property
    def name(self) -> str:
        """What its rows have in common."""
        return f"{self.kind}, {self.rows:,} rows"


@dataclass(frozen=True)
class Row:
    """One contender's answer; `value` is None where it has none, and `note` says why."""

    case: str
    name: str
    ours: bool
    unit: Unit
    value: float | None = None
    """Median over the repeats, by wall time."""
    spread: tuple[float, float] | None = None
    """Least and greatest of the repeats."""
    cpu: float | None = None
    """Median by CPU time of all threads."""
    note: str = ""


@dataclass
class _Runner:
    """A contender ready to be timed."""

    task: Task
    loops: int
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    over: bool = False
    """Whether a repeat took too long."""

    @classmethod
    def of(cls, case: Case, contender: type[Contender], plan: Plan) -> _Runner:
        """Make the task, and find how many calls last as long as a repeat should."""
        with _patience(case, contender, plan):
            task = case.make(contender)
            task.run()
        loops, spent = 1, 0.0
        with _patience(case, contender, plan):
            while spent < plan.seconds / 4:
                loops *= 4 if spent else 1
                begun = time.perf_counter()
                for _ in range(loops):
                    task.run()
                spent = time.perf_counter() - begun
        return cls(task, max(1, round(loops * plan.seconds / spent)))

    def repeat(self) -> None:
        """Time the task once more."""
        gc.disable()  # as timeit does
        try:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(self.loops):
                self.task.run()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        finally:
            gc.enable()
        self.wall.append(wall / self.loops)
        self.cpu.append(cpu / self.loops)


def measure(
    cases: Iterable[Case], contenders: Iterable[type[Contender]], plan: Plan, say: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of each case.

    Args:
        cases: those of a kind in the order of their size: what failed once is not tried at more.
        contenders: who takes part.
        plan: how long to measure.
        say: is told what is being measured.

    Raises:
        Exception: whatever the sampler under test raises. What a peer raises is told in its row.
    """
    everyone = tuple(contenders)
    absent = {contender.name: reason for contender in everyone if (reason := _missing(contender))}
    failures: dict[tuple[str, str], str] = {}
    for case in cases:
        asked = [contender for contender in everyone if contender.ours or not case.alone]
        runners: dict[str, _Runner] = {}
        notes = dict(absent)
        for contender in asked:
            name = contender.name
            if note := notes.get(name) or failures.get((case.kind, name)) or too_large(contender, case.rows, plan):
                notes[name] = note
                continue
            say(f"{case.name}: {name}")
            try:
                runners[name] = _Runner.of(case, contender, plan)
            except Exception as error:
                if contender.ours:
                    raise
                failures[case.kind, name] = notes[name] = _reason(error)
        gc.collect()
        for index in range(plan.repeats):
            for contender in [each for each in asked if each.name in runners]:
                say(f"{case.name}: {contender.name}, repeat {index + 1}")
                if not _repeat(runners[contender.name], case, contender, plan):
                    del runners[contender.name]
                    failures[case.kind, contender.name] = notes[contender.name] = (
                        "too slow: not one repeat ended in time"
                    )
        for contender in asked:
            yield _row(case, contender, runners.get(contender.name), notes.get(contender.name, ""), plan.repeats)


def _repeat(runner: _Runner, case: Case, contender: type[Contender], plan: Plan) -> bool:
    """Time once more, unless enough was spent; whether there is any time to tell of."""
    if not runner.over and sum(runner.wall) * runner.loops < plan.patience:
        try:
            with _patience(case, contender, plan):
                runner.repeat()
        except UnableError:
            runner.over = True
    return bool(runner.wall)


def _patience(case: Case, contender: type[Contender], plan: Plan) -> AbstractContextManager[None]:
    """The limit of a peer; each call has one, for some weights take a peer for ever, and they may come late."""
    return nullcontext() if contender.ours else limit(plan.patience, case.rows)


def too_large(contender: type[Contender], rows: int, plan: Plan) -> str:
    """Why the contender is not asked, or nothing."""
    need = contender.bytes_per_row * rows
    return "" if need <= plan.memory else f"needs {need / 1e9:.1f} GB; this run gives a peer {plan.memory / 1e9:g} GB"


def _missing(contender: type[Contender]) -> str:
    """What is not installed, or nothing. It also imports what is, so that no import is timed."""
    try:
        contender(Mixture(10_000), 1)
    except ImportError as error:
        if contender.ours:
            raise
        return f"not installed: {error.name}"
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, UnableError):
        return str(error)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"


def _row(case: Case, contender: type[Contender], runner: _Runner | None, note: str, repeats: int) -> Row:
    unit: Unit = "draws/s" if case.draws else "s"
    if runner is None:
        return Row(case.name, contender.name, contender.ours, unit, note=note)
    wall, cpu = (
        [case.draws / seconds if case.draws else seconds for seconds in times] for times in (runner.wall, runner.cpu)
    )
    few = f"{len(wall)} of {repeats} repeats" if len(wall) < repeats else ""
    note = "; ".join(filter(None, (runner.task.note, few)))
    return Row(case.name, contender.name, contender.ours, unit, median(wall), (min(wall), max(wall)), median(cpu), note)
