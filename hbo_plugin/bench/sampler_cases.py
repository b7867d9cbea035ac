"""The sampler's cases: drawing, changing weights, making, resuming, and reaching a far position."""

from __future__ import annotations

import pickle
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.bench.contender import Contender, Mixture, UnableError
from hbo_plugin.bench.measure import Case, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WINDOW = 1024
UPDATES = 10_000


def sampler_cases(
    sizes: Iterable[int], resume_sizes: Iterable[int], draws: Iterable[tuple[int, int]]
) -> Iterator[Case]:
    """Every case of the sampler.

    Args:
        sizes: rows of the mixtures that are drawn from and made, ascending.
        resume_sizes: rows of the mixtures that are resumed, ascending.
        draws: pairs of (rows in a batch, draws between two changes of weights), one the other or a multiple of it.
    """
    sizes, resume_sizes = tuple(sizes), tuple(resume_sizes)
    for batch, window in draws:
        yield from (drawing(rows, batch, window) for rows in sizes)
    for cells in (32, 4096):
        yield calling(cells)
        yield changing(cells)
    yield from map(making, sizes)
    yield from map(resuming, resume_sizes)
    yield from map(reaching, resume_sizes)


def drawing(rows: int, batch: int, window: int) -> Case:
    """Draw batches, with new weights for all cells between two windows."""
    mixture = Mixture(rows)
    weights = mixture.weights(64)

    def make(contender: type[Contender]) -> Task:
        sampler = contender(mixture, window)
        draw = sampler.draw
        forms = cycle([contender.form(mixture, each) for each in weights])

        def windows_of_batches() -> None:
            sampler.reweight(next(forms))
            for _ in range(window // batch):
                draw(batch)

        def batch_of_windows() -> None:
            sampler.draw_changing([next(forms) for _ in range(batch // window)])

        return Task(batch_of_windows if batch > window else windows_of_batches)

    kind = f"draws, batch {batch:,}, new weights every {window:,}"
    return Case(kind, rows, make, draws=max(batch, window))


def calling(cells: int) -> Case:
    """Give new weights, and nothing else. Some peers put all of the work off, so that only the next case compares."""
    mixture = Mixture(1_000_000, datasets=cells // 4)
    weights = mixture.weights(64)

    def make(contender: type[Contender]) -> Task:
        sampler = contender(mixture, 1)
        forms = cycle([contender.form(mixture, each) for each in weights])
        return Task(lambda: sampler.reweight(next(forms)))

    return Case(f"change of weights, the call alone, {cells:,} cells", mixture.rows, make, alone=True)


def changing(cells: int) -> Case:
    """Give new weights and draw the first row by them."""
    mixture = Mixture(1_000_000, datasets=cells // 4)
    weights = mixture.weights(64)

    def make(contender: type[Contender]) -> Task:
        sampler = contender(mixture, 1)
        forms = cycle([contender.form(mixture, each) for each in weights])

        def run() -> None:
            sampler.reweight(next(forms))
            sampler.draw(1)

        return Task(run)

    return Case(f"change of weights to first row, {cells:,} cells", mixture.rows, make)


def making(rows: int) -> Case:
    """Make a sampler and draw its first batch."""
    mixture = Mixture(rows)
    weights = mixture.weights(1)[0]

    def make(contender: type[Contender]) -> Task:
        form = contender.form(mixture, weights)

        def run() -> None:
            sampler = contender(mixture, 256)
            sampler.reweight(form)
            sampler.draw(256)

        return Task(run)

    return Case("construction to first batch", rows, make)


def resuming(rows: int) -> Case:
    """Make a sampler from the state of one whose weights changed many times, and draw the next batch."""
    mixture = Mixture(rows)
    weights = mixture.weights(UPDATES)

    def make(contender: type[Contender]) -> Task:
        if contender.state is Contender.state:
            msg = "cannot go on exactly after a change of weights"
            raise UnableError(msg)
        sampler = contender(mixture, WINDOW)
        sampler.live([contender.form(mixture, each) for each in weights])
        state = sampler.state()

        def run() -> None:
            resumed = contender(mixture, WINDOW)
            resumed.restore(state)
            resumed.draw(256)

        return Task(run, f"state of {len(pickle.dumps(state)):,} bytes")

    return Case(f"resume after {UPDATES:,} changes", rows, make)


def reaching(rows: int) -> Case:
    """Draw a batch somewhere in a run whose weights changed many times."""
    mixture = Mixture(rows)
    weights = mixture.weights(UPDATES)
    changes = np.random.default_rng(1).integers(UPDATES, size=64)

    def make(contender: type[Contender]) -> Task:
        if contender.rows_at is Contender.rows_at:
            msg = "cannot draw at a position without drawing all before it"
            raise UnableError(msg)
        sampler = contender(mixture, WINDOW)
        forms = [contender.form(mixture, each) for each in weights]
        sampler.live(forms)
        places = cycle([(change * WINDOW + 300, forms[change]) for change in changes.tolist()])
        return Task(lambda: sampler.rows_at(*next(places), 256))

    return Case(f"far position among {UPDATES:,} changes", rows, make)
