"""The statistics of paired runs: a t interval, Holm's correction, a verdict in a word, and how many seeds would settle it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

LEVEL = 0.05
"""The chance that any of the arms is called better or worse where none is."""
POWER = 0.8
"""The chance of a verdict that "seeds to settle it" aims at."""
MOST_SEEDS = 100
"""Beyond this, no number of seeds is named."""

Verdict = Literal["better", "worse", "inconclusive"]


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences, those of an arm minus those of the baseline; below 0, the arm is better.

    Attributes:
        seeds: how many pairs.
        mean: in nats per token.
        low: where the 95 % interval of Student's t begins; None of one pair.
        high: where it ends.
        p: of the two-sided paired t-test; None of one pair.
    """

    seeds: int
    mean: float
    low: float | None
    high: float | None
    p: float | None


def paired(differences: Sequence[float] | NDArray[np.float64]) -> Difference:
    """Return the difference of one arm, of float64[seeds] paired differences.

    With few seeds the t-test relies on differences that are about normal.
    """
    from scipy import stats

    values = np.asarray(differences, np.float64)
    mean = float(values.mean())
    if len(values) < 2:
        return Difference(len(values), mean, None, None, None)
    if np.ptp(values) == 0:
        return Difference(len(values), mean, mean, mean, float(mean == 0))
    test = stats.ttest_1samp(values, 0.0)
    low, high = test.confidence_interval(1 - LEVEL)
    return Difference(len(values), mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return each p-value corrected for their number by the step-down rule of Holm (1979)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return corrected


def verdict(mean: float, p: float | None) -> Verdict:
    """Return what a mean difference and its corrected p-value say."""
    if p is None or p > LEVEL:
        return "inconclusive"
    return "better" if mean < 0 else "worse"


def seeds_to_settle(differences: Sequence[float] | NDArray[np.float64], arms: int) -> int | None:
    """Return how many seeds in all give a verdict four times in five, if the difference is as large and noisy as it looks.

    Args:
        differences: float64[seeds], of one arm.
        arms: how many are compared with the baseline, for which the level is divided.

    Returns:
        None where the differences are too few to tell, or where more than `MOST_SEEDS` are needed.
    """
    from scipy import stats

    values = np.asarray(differences, np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    effect = abs(values.mean()) / values.std(ddof=1)
    for seeds in range(len(values) + 1, MOST_SEEDS + 1):
        beyond = stats.t.ppf(1 - LEVEL / arms / 2, seeds - 1)
        if stats.nct.sf(beyond, seeds - 1, effect * math.sqrt(seeds)) >= POWER:
            return seeds
    return None
