"""Overfitting: which datasets `max_epochs: auto` stops, as their own held-out losses rise. Knows no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.history import Stop
from hbo_plugin.messages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_CHANCE = 0.005
"""How often one look may find a rise that is none; less where there were many looks, of which any may be the lowest."""
_IN_A_ROW = 2
"""Looks that must find a rise, one after the other."""
_DECAY = 0.5
"""Of the moving average of each row's loss, in which one odd look counts little."""
_RECENT = 20
"""Looks whose mean losses show how much these vary from one look to the next."""


@dataclass
class _Course:
    """What is kept of the held-out losses of one dataset; plain JSON values.

    Attributes:
        average: moving average, over the looks, of the sum of the losses of each row, in nats.
        lowest: the same at the look at which their mean was lowest.
        loss: that mean, in nats per token.
        step: of that look.
        looks: how many there were.
        recent: mean losses of the last looks, not averaged.
        risen: looks in a row, up to the last, that found a rise beyond its error.
        stop: None while the dataset is drawn.
    """

    average: list[float] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    loss: float = float("inf")
    step: int = 0
    looks: int = 0
    recent: list[float] = field(default_factory=list)
    risen: int = 0
    stop: Stop | None = None


class Overfitting:
    """Compares the held-out rows of each dataset with themselves, as they were when their loss was lowest."""

    def __init__(self, sets: Mapping[str, range]) -> None:
        """Have seen nothing yet.

        Args:
            sets: by dataset, which of the steering rows are of its held-out set.
        """
        self._sets = sets
        self._courses = {name: _Course() for name in sets}

    @property
    def watches(self) -> bool:
        """Whether there is a dataset that may still be stopped."""
        return len(self.stopped) < len(self._sets)

    @property
    def stopped(self) -> dict[str, Stop]:
        """The datasets that were stopped."""
        return {name: course.stop for name, course in self._courses.items() if course.stop}

    def look(self, step: int, found: NDArray[np.float64]) -> dict[str, Stop]:
        """Look at the losses after a step, and return the datasets that are to be stopped now.

        Args:
            step: that was just made.
            found: of each steering row the sum of its losses, in nats, and the number of its tokens, float64[2, rows].
        """
        for name, rows in self._sets.items():
            sums, tokens = found[:, rows.start : rows.stop]
            course = self._courses[name]
            if course.stop is None and np.isfinite(sums).all() and tokens.any():
                _look(course, step, sums, tokens)
        return {name: stop for name, stop in self.stopped.items() if stop.step == step}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, as plain JSON values."""
        return {name: asdict(course) for name, course in self._courses.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned, for datasets that are still watched."""
        for name in self._sets.keys() & state.keys():
            course = _Course(**state[name])
            course.stop = course.stop and Stop(**state[name]["stop"])
            if course.looks and len(course.lowest) != len(self._sets[name]):
                msg = (
                    f"the checkpoint compares {len(course.lowest)} held-out rows of dataset {listed([name])} with themselves, "
                    f"but this run has {len(self._sets[name])}; restore its held-out set, or give a number as `hbo.max_epochs`."
                )
                raise ValueError(msg)
            self._courses[name] = course


def _look(course: _Course, step: int, sums: NDArray[np.float64], tokens: NDArray[np.float64]) -> None:
    average = _DECAY * np.array(course.average) + (1 - _DECAY) * sums if course.looks else sums
    loss = float(average.sum() / tokens.sum())
    course.looks += 1
    course.average = average.tolist()
    course.recent = [*course.recent, float(sums.sum() / tokens.sum())][-_RECENT:]
    if loss < course.loss:
        course.lowest, course.loss, course.step, course.risen = course.average, loss, step, 0
        return
    limit = NormalDist().inv_cdf(1 - min(_CHANCE, course.looks**-2))
    course.risen = course.risen + 1 if _rise(average - course.lowest, tokens, course.recent) > limit else 0
    if course.risen == _IN_A_ROW:
        course.stop = Stop(step, lowest=course.loss, lowest_step=course.step, loss=loss)


def _rise(differences: NDArray[np.float64], tokens: NDArray[np.float64], recent: list[float]) -> float:
    """How many standard errors the mean loss of some rows has risen, by the larger of two errors.

    One error is that of the rows: others of the same kind would have risen by more or less. It comes from the
    differences of the rows, so that it does not count how much they differ anyway. The other is that of the moment:
    at another step all rows may be better or worse together. It comes from the bends, which are how far each mean
    loss is from the line through the two before it: a steady fall or rise has none.

    Args:
        differences: of the averages of each row, now and at the lowest, summed over its tokens, in nats, float64[rows].
        tokens: of each row, float64[rows].
        recent: mean losses of the last looks, in nats per token.

    Returns:
        Standard errors; 0 while there are too few looks to tell.
    """
    bends = np.abs(np.diff(recent, 2))
    if len(bends) < 2:
        return 0.0
    count, mean = len(tokens), differences.sum() / tokens.sum()
    apart = (differences - mean * tokens) / tokens.mean()
    of_rows = np.sqrt((apart**2).sum() / (count - 1) / count)
    # From mean absolute bends, so that an odd look counts little: the variance of a normal variable is pi / 2 times the
    # square of that. A bend has six times the variance of a look, and the difference of two moving averages
    # 2 * (1 - decay) / (1 + decay) of it; twice that, because what moves a look may last until the next.
    of_looks = bends.mean() * np.sqrt(np.pi / 2 / 6 * 4 * (1 - _DECAY) / (1 + _DECAY))
    # Bends that share looks tell half as much as others.
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (_normal(mean / of_rows, count - 1), _normal(mean / of_looks, len(bends) / 2))
    return float(np.nan_to_num(min(found), posinf=np.inf))


def _normal(deviation: float, freedom: float) -> float:
    """The deviation of a normal variable that is as rare as that of Student's t.

    Source: D. L. Wallace, Bounds on normal approximations to Student's and the chi-square distributions, Annals of
    Mathematical Statistics 30 (1959).
    """
    size = (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(deviation**2 / freedom))
    return float(np.copysign(size, deviation))
