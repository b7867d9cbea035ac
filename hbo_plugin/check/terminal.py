"""What a terminal shows of a check."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.messages import listed
from hbo_plugin.report.terminal import literal, table, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from hbo_plugin.check.look import Findings
    from hbo_plugin.check.plan import DatasetPlan, Plan


def findings(found: Findings, config: Path) -> RenderableType:
    """Render what was found in a configuration."""
    parts: list[RenderableType] = []
    if found.plan is not None:
        parts += [title("The data"), _data(found.plan.datasets), ""]
        parts += [title(f"The run by the method {found.plan.method}, at its first weights"), _draws(found.plan), ""]
        parts += map(literal, _lines(found.plan, config))
    parts += [literal(f"Note: {note}") for note in found.notes]
    parts += [literal(f"Warning: {warning}") for warning in found.warnings]
    if found.refusals:
        parts += [title("Training would refuse this:"), *(literal(f"- {refusal}") for refusal in found.refusals)]
    return Group(*parts)


def _data(datasets: Iterable[DatasetPlan]) -> Table:
    made = table(
        [
            "rows\nread",
            "rows to\ntrain on",
            "without\nan answer",
            "tokens",
            "trained\ntokens",
            "levels",
            "held-out\nrows",
        ]
    )
    for each in datasets:
        numbers = (
            each.raw_rows,
            each.rows,
            each.masked_rows,
            each.tokens,
            each.trained_tokens,
            each.levels,
            each.held_out,
        )
        made.add_row(literal(each.name), *map(_count, numbers))
    return made


def _draws(plan: Plan) -> Table:
    made = table(["weight", "rows\ndrawn", "tokens\ndrawn", "epochs", "seen once\nat step"])
    for each in plan.datasets:
        made.add_row(
            literal(each.name),
            "\n".join(f"{weight:.1%}" for weight in each.weights),
            _count(each.rows_drawn),
            _count(each.tokens_drawn),
            f"{each.epochs:.2f}",
            "" if each.seen_once is None else f"{each.seen_once:,}",
        )
    return made


def _count(number: int) -> str:
    """A number in seven characters or fewer."""
    for size, suffix in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if number >= size:
            return f"{number / size:.1f}{suffix}"
    return f"{number:,}"


def _lines(plan: Plan, config: Path) -> Iterator[str]:
    """The rest, a sentence or two each."""
    yield f"Trains for {plan.steps:,} steps of {plan.step}. Weights are shares of {plan.unit.replace('_', ' ')}s."
    if plan.estimated:
        yield "Rows are packed: what is drawn is estimated from their mean lengths."
    if len(plan.phases) > 1:
        yield f"Weights change after step {', '.join(f'{step:,}' for step in plan.phases[1:])}: one line for each phase."
    step = next((each.seen_once for each in plan.datasets if each.name == plan.first_used_up), None)
    if step is None:
        yield "No dataset is used up."
    else:
        yield f"The first dataset to be used up is `{plan.first_used_up}`, at step {step:,}."
    for number, begin in enumerate(plan.phases):
        shares = {
            each.name: (f"{each.asked[number]:.1%}", f"{each.weights[number]:.1%}")
            for each in plan.datasets
            if each.capped[number]
        }
        # Target first asks for what the cap leaves, up to a row.
        limited = ", ".join(
            f"`{name}`, from {asked} to {left}" for name, (asked, left) in shares.items() if asked != left
        )
        if limited:
            yield f"From step {begin + 1:,} on, `max_epochs` limits the weight of {limited}."
    for (source, cost), signals in groupby(plan.signals, key=lambda signal: (signal.source, signal.cost)):
        names = listed(signal.name for signal in signals)
        yield f"{plan.moments} the weights follow {names} from {source}: {cost}."
    if not plan.signals:
        yield "Nothing is measured to move the weights."
    if plan.row_weights:
        yield f"Row weights: {plan.row_weights}."
    unscored = [f"{each.unscored:,} rows of `{each.name}`" for each in plan.datasets if each.unscored]
    if unscored:
        yield (
            f"The model must still score the difficulty `{plan.difficulty}` of {', '.join(unscored)}, which "
            f"`axolotl hbo-score {config}` does. Until then, which rows are in which level is unknown."
        )
