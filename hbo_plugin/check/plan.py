"""The plan: what a run does at its first weights. Arithmetic on the parts of a run, which it moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hbo_plugin.check.course import Course
from hbo_plugin.check.signals import SignalPlan, signal_plans
from hbo_plugin.row_weights.settings import told
from hbo_plugin.training.moments import Moments

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.signals.choice import Choice
    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import StepShape


@dataclass(frozen=True)
class DatasetPlan:
    """What becomes of one dataset.

    Attributes:
        name: as in the configuration.
        raw_rows: rows of the user's that it was made of.
        rows: rows to train on.
        held_out: rows of its held-out set that judge the run.
        counted: whether the run is meant to be good at it.
        masked_rows: rows to train on without a token to learn.
        tokens: of the rows to train on.
        trained_tokens: of these, those that the model learns to predict.
        levels: difficulty levels.
        unscored: rows that have no difficulty yet.
        asked: the weight that the method asks for, in each phase of the run.
        weights: the weight in force in each phase, which `max_epochs` may have lowered.
        capped: whether it has, in each phase.
        rows_drawn: rows that the run trains on.
        tokens_drawn: tokens of these, by the mean length of a level's rows.
        epochs: rows that it trains on over rows there are.
        seen_once: the step after which each row was trained on; None where none is.
    """

    name: str
    raw_rows: int
    rows: int
    held_out: int
    counted: bool
    masked_rows: int
    tokens: int
    trained_tokens: int
    levels: int
    unscored: int
    asked: tuple[float, ...]
    weights: tuple[float, ...]
    capped: tuple[bool, ...]
    rows_drawn: int
    tokens_drawn: int
    epochs: float
    seen_once: int | None


@dataclass(frozen=True)
class Plan:
    """What a run does at its first weights.

    Attributes:
        method: its name.
        unit: what weights are shares of.
        difficulty: what levels are cut by.
        steps: of the run.
        step: what one is made of, in words.
        estimated: whether the draws are estimates, because rows are packed.
        moments: when the weights follow what is measured, in words.
        phases: the step after which each phase of the run begins.
        datasets: in their order.
        first_used_up: the dataset that is seen once before all others; None where none is.
        signals: that the weights follow; none where they are fixed.
        row_weights: what weighs the rows, in words; None where nothing does.
        target: how much each held-out set counts; shares that sum to 1.
        judges: rows of each held-out set that judge the run.
    """

    method: str
    unit: str
    difficulty: str
    steps: int
    step: str
    estimated: bool
    moments: str
    phases: tuple[int, ...]
    datasets: tuple[DatasetPlan, ...]
    first_used_up: str | None
    signals: tuple[SignalPlan, ...]
    row_weights: str | None
    target: dict[str, float]
    judges: dict[str, int]


def plan(
    balancer: Balancer,
    shape: StepShape,
    config: HBOConfig,
    choice: Choice,
    *,
    raw_rows: Mapping[str, int],
    judges: Mapping[str, int],
    tied: Mapping[str, str],
    unscored: Mapping[str, int],
    target: Mapping[str, float],
    counted: Collection[str],
) -> Plan:
    """Say what a run does.

    Args:
        balancer: new; it is moved through the phases of the run.
        shape: of a step.
        config: the `hbo:` block.
        choice: which source measures which signal.
        raw_rows: by dataset.
        judges: rows of each held-out set that judge.
        tied: the held-out set of a dataset; one without is no key.
        unscored: rows without a difficulty, by dataset; one without is no key.
        target: how much each held-out set counts.
        counted: the datasets that belong to one of these.
    """
    cells = balancer.cells
    moments = Moments.of(config, balancer.method, shape.steps)
    course = Course(balancer, shape)
    drawn = course.drawn
    tokens_drawn = drawn * cells.mean_units("token")
    datasets = []
    for index, name in enumerate(cells.names):
        part = slice(index * cells.levels, (index + 1) * cells.levels)
        rows = cells.dataset_rows(index)
        trained = cells.trained[rows.start : rows.stop]
        datasets.append(
            DatasetPlan(
                name=name,
                raw_rows=raw_rows[name],
                rows=len(rows),
                held_out=judges.get(tied.get(name, ""), 0),
                counted=name in counted,
                masked_rows=int((trained == 0).sum()),
                tokens=int(cells.lengths[rows.start : rows.stop].sum()),
                trained_tokens=int(trained.sum()),
                levels=int((cells.sizes[index] > 0).sum()),
                unscored=unscored.get(name, 0),
                rows_drawn=int(drawn[part].sum()),
                tokens_drawn=round(float(tokens_drawn[part].sum())),
                epochs=float(drawn[part].sum() / len(rows)),
                seen_once=course.seen_once(part),
                **{key: tuple(each[index].item() for each in of_phase) for key, of_phase in course.phases.items()},
            )
        )
    seen = {each.name: each.seen_once for each in datasets if each.seen_once is not None}
    return Plan(
        method=balancer.method_name,
        unit=config.unit,
        difficulty=config.difficulty,
        steps=shape.steps,
        step=f"{shape.batches} batches of {shape.bins}" if shape.bins else str(shape),
        estimated=shape.bins is not None,
        moments=str(moments),
        phases=tuple(course.begins),
        datasets=tuple(datasets),
        first_used_up=min(seen, key=lambda name: seen[name]) if seen else None,
        signals=tuple(signal_plans(choice, config, moments, len(target))),
        row_weights=told(config.row_weights) if config.row_weights else None,
        target=dict(target),
        judges=dict(judges),
    )
