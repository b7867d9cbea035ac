"""The history of a run, as its trace tells it."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import pairwise
from math import fsum
from operator import mul
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable


_Part = TypeVar("_Part")

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
        efficiency: how full the packed batches were so far; None without packing, before the first, and in older traces.
        delay_rows: rows that were drawn and not trained on when these weights took force; None where none did.
    """

    step: int
    unit: str
    weights: dict[str, list[float]]
    rows: dict[str, list[int]]
    rows_trained: dict[str, list[int]]
    tokens: dict[str, list[int]]
    trained_tokens: dict[str, list[int]]
    capped: dict[str, list[bool]]
    efficiency: float | None = None
    delay_rows: int | None = None

    def weight(self, dataset: str) -> float:
        """Return the weight of a dataset, all its levels together."""
        return sum(self.weights[dataset])


@dataclass(frozen=True)
class About:
    """What the first line of a trace says of its run; older traces say nothing of it.

    Attributes:
        steps: of the whole run; 0 where it is not said.
        prior: the weights that the method asked for at the start, by dataset.
        max_epochs: the cap of each dataset; None without one.
        config: every key of the `hbo:` block with its value, as YAML has them.
        kind: of training, by the option that asks for it; empty for supervised training.
        notes: what the user should know, a sentence each.
        versions: of hbo, Python and packages.
    """

    steps: int = 0
    prior: dict[str, float] = field(default_factory=dict)
    max_epochs: dict[str, float | None] = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)
    kind: str = ""
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def losses(self) -> str:
        """What held-out losses are measured in."""
        return f"loss under {self.kind}" if self.kind else "nats per token"


@dataclass(frozen=True)
class TrainingLoss:
    """Mean training loss a token of each dataset that was trained on since it was told before, in nats."""

    step: int
    losses: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss a token of each held-out set and of the target, in nats; and the set `tied` to a dataset, by dataset.

    The `steering` rows are those of the target that methods look at; their losses are there with `record_steering`.
    """

    step: int
    losses: dict[str, float]
    tied: dict[str, str]
    target: float
    steering: dict[str, float] = field(default_factory=dict)

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
        training: training losses, at each evaluation, or at each update of a run without evaluations.
        about: what the run is.
        stopped: the datasets that `max_epochs: auto` stopped.
        ended: whether the run ended; one that trains still or was killed has not.
    """

    entries: dict[str, dict[str, Any]]
    states: tuple[State, ...]
    evaluations: tuple[Evaluation, ...]
    measured: tuple[Measured, ...]
    weighed: tuple[Weighed, ...]
    training: tuple[TrainingLoss, ...]
    about: About
    stopped: dict[str, Stop]
    ended: bool

    @classmethod
    def of(cls, records: Iterable[dict[str, Any]]) -> History:
        """Build it from the records of a trace; a KeyError where one lacks a key."""
        entries: dict[str, dict[str, Any]] = {}
        states, evaluations, measured, weighed, training = [], [], [], [], []
        about = About()
        stopped: dict[str, Stop] = {}
        ended = False
        for record in records:
            if losses := record.get("training_loss"):
                training.append(TrainingLoss(record["step"], losses))
            if record["event"] == "evaluate":
                evaluations.append(_read(Evaluation, {**record, "losses": record["held_out"]}))
            elif record["event"] == "row_weights":
                weighed.append(_read(Weighed, record))
            else:
                entries |= record.get("entries", {})
                stopped |= {name: Stop(**stop) for name, stop in record.get("stopped", {}).items()}
                states.append(_read(State, record))
                about = _read(About, record) if record["event"] == "start" else about
                about = replace(about, config=record.get("config", about.config))  # a resumed run may have another
                ended = record["event"] == "end"
                if "signals" in record:
                    measured.append(Measured(record["step"], record["signals"]))
        return cls(
            entries=entries,
            states=tuple(states),
            evaluations=tuple(evaluations),
            measured=tuple(measured),
            weighed=tuple(weighed),
            training=tuple(training),
            about=about,
            stopped=stopped,
            ended=ended,
        )

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
    def prior(self) -> dict[str, float]:
        """By dataset; the first weights, where an older trace does not say it."""
        return self.about.prior or {name: self.states[0].weight(name) for name in self.datasets}

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names, in the order of the configuration."""
        return tuple(self.states[0].weights)


def _read(part: type[_Part], record: dict[str, Any]) -> _Part:
    """Take the fields of a part from a record; those with a default may be missing, as in traces of earlier versions."""
    needed = {each.name: each.default is MISSING and each.default_factory is MISSING for each in fields(part)}  # type: ignore[arg-type]
    return part(**{name: record[name] for name, must in needed.items() if must or name in record})
