"""Series: the numbers of a run over its steps, as its figures show them: few datasets, and few enough points."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum, isfinite
from typing import TYPE_CHECKING, Any

from hbo_plugin.report.style import Key, keys, of_others

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hbo_plugin.history import History, State

TOP = 10
"""Datasets that a figure shows; the others are one more line."""
POINTS = 200
"""Of a line in a figure, at most."""
FEW = 40
"""Points that are marked each."""


@dataclass(frozen=True)
class Line:
    """The course of one number.

    Attributes:
        name: of the dataset, or what else it is.
        steps: optimizer steps made.
        values: at these steps; None where nothing was measured.
        errors: the standard error of each, where it is known.
    """

    name: str
    steps: Sequence[int]
    values: Sequence[float | None]
    errors: Sequence[float | None] | None = None


@dataclass(frozen=True)
class Shown:
    """What the figures of a run show.

    Attributes:
        history: of the run.
        names: of the datasets that have a line of their own.
        keys: the look of each of these, and of the line for the others, by its name.
    """

    history: History
    names: Sequence[str]
    keys: Mapping[str, Key]

    @classmethod
    def of(cls, history: History, among: Sequence[str] = ()) -> Shown:
        """Choose the datasets; `among` those where several runs are to show the same."""
        looks = keys(among or top(history))
        names = [name for name in history.datasets if name in looks]
        return cls(history, names, looks | of_others(len(others(history, names))))

    def prior(self) -> dict[str, float]:
        """The prior of each line."""
        prior, rest = self.history.prior, others(self.history, self.names)
        found = {name: prior[name] for name in self.names}
        return found | {f"{len(rest)} others": fsum(prior[name] for name in rest)} if rest else found


def top(*histories: History) -> list[str]:
    """The datasets that figures show, in their order: those of the largest mean weight in a run."""
    means: dict[str, float] = {}
    for history in histories:
        for name, weights in history.mean_weights().items():
            means[name] = max(means.get(name, 0.0), fsum(weights))
    chosen = sorted(means, key=lambda name: -means[name])[:TOP]
    return [name for name in means if name in chosen]


def others(history: History, shown: Sequence[str]) -> list[str]:
    """The datasets that figures show as one."""
    return [name for name in history.datasets if name not in shown]


def thin(found: Sequence[Any]) -> list[Any]:
    """So many of them, evenly, that a figure can show; the first and the last always."""
    if len(found) <= POINTS:
        return [*found]
    return [found[round(index * (len(found) - 1) / (POINTS - 1))] for index in range(POINTS)]


def of_states(
    history: History,
    shown: Sequence[str],
    number: Callable[[State, str], float],
    merged: Callable[[Sequence[float]], float | None],
) -> list[Line]:
    """A line for each shown dataset and one for the others, of a number at each state."""
    states = thin(history.states)
    return _lines(history, shown, states, number, merged)


def of_losses(history: History, shown: Sequence[str], *, training: bool) -> list[Line]:
    """The held-out losses or the training losses of the shown datasets, and the mean of the others."""
    if training:
        return _lines(history, shown, thin(history.training), lambda each, name: each.losses.get(name), mean)
    return _lines(history, shown, thin(history.evaluations), lambda each, name: each.loss(name), mean)


def of_signal(history: History, shown: Sequence[str], signal: str) -> list[Line]:
    """A signal of the shown datasets, and the mean of the others."""
    measured = thin([each for each in history.measured if signal in each.signals])
    rows = history.states[-1].rows
    return _lines(
        history, shown, measured, lambda each, name: of_dataset(each.signals[signal].get(name), rows[name]), mean
    )


def of_dataset(value: Any, rows: Sequence[int]) -> float | None:
    """One value for a dataset: the mean over the rows of its measured levels, or over held-out sets."""
    if isinstance(value, dict):
        return mean(value.values())
    if not isinstance(value, list):
        return _finite(value)
    pairs = [(each, count) for each, count in zip(value, rows, strict=True) if _finite(each) is not None]
    total = sum(count for _, count in pairs)
    return fsum(each * count for each, count in pairs) / total if total else None


def mean(values: Iterable[float | None]) -> float | None:
    """Of what was measured; None where nothing was."""
    found = [value for value in values if _finite(value) is not None]
    return fsum(found) / len(found) if found else None  # type: ignore[arg-type]


def capped_spans(history: History, dataset: str) -> list[tuple[int, int, float]]:
    """When `max_epochs` lowered weights of a dataset: first and last step, and the largest share of its levels."""
    spans: list[tuple[int, int, float]] = []
    since, share = None, 0.0
    levels = sum(rows > 0 for rows in history.states[0].rows[dataset])
    for state in history.states:
        now = sum(state.capped[dataset]) / levels
        if now and since is None:
            since = state.step
        if not now and since is not None:
            spans.append((since, state.step, share))
            since, share = None, 0.0
        share = max(share, now)
    if since is not None:
        spans.append((since, history.states[-1].step, share))
    return spans


def _lines(
    history: History,
    shown: Sequence[str],
    moments: Sequence[Any],
    number: Callable[[Any, str], float | None],
    merged: Callable[[Any], float | None],
) -> list[Line]:
    steps = [moment.step for moment in moments]
    lines = [Line(name, steps, [_finite(number(moment, name)) for moment in moments]) for name in shown]
    if rest := others(history, shown):
        values = [merged([number(moment, name) for name in rest]) for moment in moments]
        lines.append(Line(f"{len(rest)} others", steps, values))
    return [line for line in lines if any(value is not None for value in line.values)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
