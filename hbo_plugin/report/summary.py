"""The numbers of a report: the mixture of a run, first against last. From its trace alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hbo_plugin.report.effects import Effect, effects

_RISE = 1.01
"""How many times its lowest value a held-out loss has to be to have risen."""

if TYPE_CHECKING:
    from hbo_plugin.history import History, Stop


@dataclass(frozen=True)
class Change:
    """A number at the start of a run and at its newest step; None where it was not finite."""

    first: float | None
    last: float | None


@dataclass(frozen=True)
class DatasetSummary:
    """What became of one dataset.

    Attributes:
        name: as in the configuration.
        rows: rows there are.
        weight: share of the draws, of what `hbo.unit` says.
        levels: weight of each level within the dataset, the easiest first; they sum to 1.
        row_share: of the rows trained on so far, the share from this dataset.
        token_share: the same of the tokens.
        epochs: rows trained on over rows there are.
        capped: whether `max_epochs` lowers its weight.
        held_out_loss: mean a token of its held-out set, in nats; None without one.
        stopped: when and why `max_epochs: auto` stopped it; None where it did not.
        overfits_since: the step since which it overfits, as `overfits_since` finds it; None where it does not.
    """

    name: str
    rows: int
    weight: Change
    levels: tuple[Change, ...]
    row_share: float
    token_share: float
    epochs: float
    capped: bool
    held_out_loss: Change | None
    stopped: Stop | None
    overfits_since: int | None = None


@dataclass(frozen=True)
class RowWeightSummary:
    """What row weights came to, at the first and at the last step that they were told at.

    Attributes:
        std: of the weights of single rows, whose mean is 1 or near it.
        effective: the share of the rows that would be as good a sample if all counted alike.
        with_loss: the correlation of weights and losses.
        datasets: the mean over the trained tokens of each dataset, by its name.
    """

    std: Change
    effective: Change
    with_loss: Change
    datasets: dict[str, Change]


@dataclass(frozen=True)
class Summary:
    """What became of a run up to its newest `step`; it may not have `ended`.

    Attributes:
        target_loss: mean a token of the held-out sets that count, in nats; None where no set was evaluated.
        effects: what datasets did for the held-out sets that count, where the method measured it.
        row_weights: what row weights came to, where the run has some.
    """

    step: int
    ended: bool
    rows_trained: int
    tokens_trained: int
    target_loss: Change | None
    datasets: tuple[DatasetSummary, ...]
    effects: tuple[Effect, ...] = ()
    row_weights: RowWeightSummary | None = None


def summarise(history: History) -> Summary:
    """Compare the first state of a run with its last, and the first held-out losses with the last."""
    first, last = history.states[0], history.states[-1]
    trained, tokens = (sum(map(sum, counts.values())) for counts in (last.rows_trained, last.tokens))
    datasets = []
    for name in history.datasets:
        rows, drawn = sum(last.rows[name]), sum(last.rows_trained[name])
        losses = [loss for each in history.evaluations if (loss := each.loss(name)) is not None]
        shares = (_shares(state.weights[name]) for state in (first, last))
        datasets.append(
            DatasetSummary(
                name=name,
                rows=rows,
                weight=Change(first.weight(name), last.weight(name)),
                levels=tuple(Change(*pair) for pair in zip(*shares, strict=True)),
                row_share=drawn / max(1, trained),
                token_share=sum(last.tokens[name]) / max(1, tokens),
                epochs=drawn / rows,
                capped=any(last.capped[name]),
                held_out_loss=Change(_finite(losses[0]), _finite(losses[-1])) if losses else None,
                stopped=history.stopped.get(name),
                overfits_since=overfits_since(history, name),
            )
        )
    targets = [each.target for each in history.evaluations]
    target = Change(_finite(targets[0]), _finite(targets[-1])) if targets else None
    return Summary(
        last.step,
        history.ended,
        trained,
        tokens,
        target,
        tuple(datasets),
        tuple(effects(history.measured)),
        _row_weights(history),
    )


def _row_weights(history: History) -> RowWeightSummary | None:
    if not history.weighed:
        return None
    first, last = history.weighed[0], history.weighed[-1]
    return RowWeightSummary(
        std=Change(first.std, last.std),
        effective=Change(first.effective, last.effective),
        with_loss=Change(first.with_loss, last.with_loss),
        datasets={name: Change(first.datasets[name], last.datasets[name]) for name in history.datasets},
    )


def _shares(weights: list[float]) -> list[float]:
    total = sum(weights)
    return [weight / total if total else 0.0 for weight in weights]


def overfits_since(history: History, dataset: str) -> int | None:
    """The step of its lowest held-out loss, where the loss has risen since while that of the training fell.

    All of at least two evaluations since must be higher, and the last by 1%. The training losses that are compared are those of
    the time up to that step and of the last time; a trace without them says nothing.
    """
    found = [(each.step, loss) for each in history.evaluations if (loss := each.loss(dataset)) is not None]
    if not found or not all(math.isfinite(loss) for _, loss in found):
        return None
    step, lowest = min(found, key=lambda each: each[1])
    after = [loss for at, loss in found if at > step]
    trained = [(each.step, each.losses[dataset]) for each in history.training if dataset in each.losses]
    before, since = ([loss for at, loss in trained if (at <= step) == early] for early in (True, False))
    rose = len(after) > 1 and min(after) > lowest and after[-1] > lowest * _RISE
    return step if rose and before and since and since[-1] < before[-1] else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
