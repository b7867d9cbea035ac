"""The history of a run, as its trace tells it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from math import fsum
from operator import mul
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


LOWEST = 100
"""Rows that row weights tell of by their number, those of the lowest weights."""


@dataclass(frozen=True)
class State:
    """The mixture at one moment of a run. Each dataset has a list of one value a level, the easiest first.

    Attributes:
        step: optimizer steps made.
        unit: what the weights are shares of, as `hbo.unit` has it.
        weights: what the stream is drawn with; they sum to 1.
        rows: rows there are.
        rows_trained: rows trained on so far.
        tokens: tokens trained on so far.
        trained_tokens: those of these that the model learned to predict.
        capped: whether `max_epochs` lowers a weight.
    """

    step: int
    unit: str
    weights: dict[str, list[float]]
    rows: dict[str, list[int]]
    rows_trained: dict[str, list[int]]
    tokens: dict[str, list[int]]
    trained_tokens: dict[str, list[int]]
    capped: dict[str, list[bool]]

    def weight(self, dataset: str) -> float:
        """Return the weight of a dataset, all its levels together."""
        return sum(self.weights[dataset])


@dataclass(frozen=True)
class Evaluation:
    """Mean loss a token of each held-out set and of the target, in nats; and the set `tied` to a dataset, by dataset."""

    step: int
    losses: dict[str, float]
    tied: dict[str, str]
    target: float

    def loss(self, dataset: str) -> float | None:
        """Return the loss of the set that belongs to a dataset; None where it has none."""
        return self.losses.get(self.tied.get(dataset, ""))


@dataclass(frozen=True)
class Measured:
    """What an update was given: each signal by dataset, as a number, a list of one a level, or by held-out set."""

    step: int
    signals: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Weighed:
    """What row weights came to, since they were told before.

    Attributes:
        step: optimizer steps made.
        mean: of the weights, by the tokens of the rows.
        std: of the weights of single rows.
        effective: the share of the rows that would be as good a sample if all counted alike.
        zero: the share of rows whose weight is 0.
        with_loss: the correlation of weights and losses; None where no loss was looked at.
        datasets: the mean of each dataset, by tokens; None for one that was not trained on.
        cells: the same, a list of one value a level.
        lowest: the rows of the lowest weights, the lowest first: number in the training set, number of the user's row from
            1, and the last weight.
    """

    step: int
    mean: float | None
    std: float | None
    effective: float | None
    zero: float | None
    with_loss: float | None
    datasets: dict[str, float | None]
    cells: dict[str, list[float | None]]
    lowest: list[tuple[int, int, float]]


@dataclass(frozen=True)
class Stop:
    """When `max_epochs: auto` stopped a dataset, and how its held-out loss had risen, in nats per token."""

    step: int
    lowest: float
    lowest_step: int
    loss: float

    def told(self, dataset: str) -> str:
        """Say it in words."""
        rose = f"{self.lowest:.3f} at step {self.lowest_step:,} to {self.loss:.3f}"
        return f"`max_epochs: auto` stopped `{dataset}` at step {self.step:,}: its held-out loss rose from {rose}"


@dataclass(frozen=True)
class History:
    """What a trace says of a run.

    Attributes:
        entries: where each dataset is read from, in keys of `datasets:`, by the dataset's name.
        states: at the start, after each update and, if it `ended`, at the end.
        evaluations: in their order.
        measured: what was measured at each update.
        weighed: what row weights came to, at each time that they were told.
        stopped: the datasets that `max_epochs: auto` stopped.
        ended: whether the run ended; one that trains still or was killed has not.
    """

    entries: dict[str, dict[str, Any]]
    states: tuple[State, ...]
    evaluations: tuple[Evaluation, ...]
    measured: tuple[Measured, ...]
    weighed: tuple[Weighed, ...]
    stopped: dict[str, Stop]
    ended: bool

    @classmethod
    def of(cls, records: Iterable[dict[str, Any]]) -> History:
        """Build it from the records of a trace; a KeyError where one lacks a key."""
        entries: dict[str, dict[str, Any]] = {}
        states, evaluations, measured, weighed = [], [], [], []
        stopped: dict[str, Stop] = {}
        ended = False
        for record in records:
            if record["event"] == "evaluate":
                evaluations.append(Evaluation(record["step"], record["held_out"], record["tied"], record["target"]))
            elif record["event"] == "row_weights":
                weighed.append(Weighed(**{field.name: record[field.name] for field in fields(Weighed)}))
            else:
                entries |= record.get("entries", {})
                stopped |= {name: Stop(**stop) for name, stop in record.get("stopped", {}).items()}
                states.append(State(**{field.name: record[field.name] for field in fields(State)}))
                ended = record["event"] == "end"
                if "signals" in record:
                    measured.append(Measured(record["step"], record["signals"]))
        return cls(entries, tuple(states), tuple(evaluations), tuple(measured), tuple(weighed), stopped, ended)

    def mean_weights(self, since: float = 0.0) -> dict[str, list[float]]:
        """Return the mean over the steps after `since` of each dataset's weights, a value a level; the last ones if there is none."""
        steps = [max(0.0, after.step - max(state.step, since)) for state, after in pairwise(self.states)]
        if not any(steps):
            return self.states[-1].weights
        means = {}
        for name in self.datasets:
            of_levels = zip(*(state.weights[name] for state in self.states[:-1]), strict=True)
            means[name] = [fsum(map(mul, of_level, steps)) / sum(steps) for of_level in of_levels]
        return means

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names, in the order of the configuration."""
        return tuple(self.states[0].weights)
