"""How often `max_epochs: auto` stops a dataset, in simulations: `python tests/helpers/overfitting_cases.py` prints the table
of docs/evidence.md.

The loss of a held-out row is a course that all rows share, how the row takes it (with a standard deviation of 0.7 times
the rise), a random walk of its own (0.18 nats over the run), noise of its own at each look (0.15, with heavy tails), and
noise that all rows share (`shared`, a third of which lasts until the next look), in nats per token. Rows have 5 to 59 tokens.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from hbo_plugin.training.overfitting import Overfitting

LOWEST = 0.3
"""When a loss that will rise is lowest, as a share of the run."""


def courses(rise: float | None, looks: int) -> np.ndarray:
    """The mean loss at each look, float64[looks]: falling ever more slowly, or then rising so far by the end."""
    time = np.arange(1, looks + 1) / looks
    if rise is None:
        return np.exp(-5 * time) - 0.2 * time
    return np.where(time < LOWEST, (1 - time / LOWEST) ** 2 * (rise > 0), rise * (time - LOWEST) / (1 - LOWEST))


def stops(rise: float | None, *, rows: int, looks: int, runs: int, shared: float = 0.01) -> list[int | None]:
    """At which look each run stops the dataset; None where it never does. A rise of 0 is a flat course."""
    random = np.random.default_rng([rows, looks, int(1000 * (rise or 0)), int(1000 * shared)])
    found: list[int | None] = []
    for _ in range(runs):
        tokens = random.integers(5, 60, rows).astype(float)
        taken = np.maximum(1 + 0.7 * random.standard_normal(rows), 0) if rise else np.ones(rows)
        losses = np.outer(courses(rise, looks), taken / taken.mean())
        losses += np.cumsum(0.18 / np.sqrt(looks) * random.standard_normal((looks, rows)), 0)
        losses += 0.15 * random.standard_t(4, (looks, rows)) / np.sqrt(2)
        noise = shared * random.standard_normal(looks)
        for look in range(1, looks):
            noise[look] = 0.3 * noise[look - 1] + np.sqrt(1 - 0.3**2) * noise[look]
        sums = (losses + noise[:, None] + 2) * tokens
        watch = Overfitting({"a": range(rows)})
        at = (look for look, each in enumerate(sums, 1) if watch.look(look, np.stack([each, tokens])))
        found.append(next(at, None))
    return found


def rate(found: list[int | None]) -> float:
    """The share of runs that stopped."""
    return sum(each is not None for each in found) / len(found)


def after(found: list[int | None], looks: int) -> float:
    """How many looks after the lowest the runs that stopped did so: the median."""
    return float(np.median([each for each in found if each is not None])) - LOWEST * looks


def main(runs: int = 400) -> None:
    """Print the table."""
    for looks in (20, 100):
        for rows in (5, 8, 16, 32, 64, 256):
            case = {"rows": rows, "looks": looks, "runs": runs}
            still = [stops(0.0, shared=shared, **case) for shared in (0.0, 0.01, 0.02)] + [stops(None, **case)]
            cells = [f"{rate(each):.1%}" for each in still]
            rising = (stops(rise, **case) for rise in (0.1, 0.3))
            cells += [
                f"{rate(each):.0%}" + (f", {after(each, looks):.0f}" if rate(each) >= 0.05 else "") for each in rising
            ]
            sys.stdout.write(f"| {looks} | {rows} | {' | '.join(cells)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
