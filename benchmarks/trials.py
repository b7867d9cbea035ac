"""How far short trials rank the datasets beside a target as whole runs do: a real model with LoRA, each dataset alone in what is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from axolotl_configs.quickstart_search_data import HELPERS, TARGET_ROWS, TASKS
from benchmarks.kept_runs import all_runs, earlier_option, out_option, tell
from benchmarks.real_model import ROWS_PER_STEP, WARM_UP, pretrained, versions
from hbo_plugin.bench.report import wide_console
from hbo_plugin.outputs import json_option
from hbo_plugin.search.candidates import EVEN, Shares
from hbo_plugin.search.trials import worse_for_each

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.real_model import Pretrained
    from hbo_plugin.search.candidates import Candidate

STEPS = 80
"""Of a whole run."""
PARTS = (1, 2, 4, 8)
"""A trial takes the steps of the run divided by one of these."""
CAP = 3
"""How often a whole run may repeat the targets."""
_OTHERS = tuple(name for name in TASKS if name not in HELPERS)
_SHARES = Shares(dict.fromkeys(HELPERS, CAP * TARGET_ROWS / (STEPS * ROWS_PER_STEP)), _OTHERS, floor=0.0)
CANDIDATES = [_SHARES.even, *(_SHARES.candidate([name]) for name in _OTHERS)]
_CLEARLY = -0.05


@dataclass(frozen=True)
class Result:
    """One trial.

    Attributes:
        part: of the steps of the run, as in a half.
        seed: of the rows, of the adapters and of the stream.
        candidate: by its name.
        middle: loss of each target's steering half when half of the steps were made, nats a token.
        end: the same at the end.
        judging: of its judging half at the end.
        environment: versions and the machine.
    """

    part: int
    seed: int
    candidate: str
    middle: dict[str, float]
    end: dict[str, float]
    judging: dict[str, float]
    environment: dict[str, Any]


@dataclass(frozen=True)
class Ranking:
    """What trials of one length came to, over seeds and targets.

    Attributes:
        part: of the steps of the run.
        readings: how many: each target in each seed.
        helper_first: in how many the target's own helper lowered its loss most.
        as_whole: in how many the first was that of the whole run.
        helper: mean difference of the own helper from the even rest, nats a token.
        lowest_other: the lowest difference of any other dataset.
        clearly: how many other datasets fell more than 0.05 below the even rest, of all.
        others: how many there are.
        order: mean rank correlation with whole runs.
        given_up: how many trials were worse than the even rest for each target at half of their steps.
        helpers_given_up: how many of these were of a helper.
        trials: how many there were, without those of the even rest.
    """

    part: int
    readings: int
    helper_first: int
    as_whole: int
    helper: float
    lowest_other: float
    clearly: int
    others: int
    order: float
    given_up: int
    helpers_given_up: int
    trials: int


@click.command()
@click.option("--seeds", default=3, type=click.IntRange(min=1), show_default=True, help="Trials of each length.")
@out_option("demo/trials")
@earlier_option
@json_option
def trials(*, seeds: int, out: Path, earlier: Path | None, json_to: Path | None) -> None:
    """Give what two targets leave to one dataset at a time, in whole runs and in shorter ones, and compare the rankings.

    A step takes a second on a core. The command can be stopped and started again at any moment, and several can work on
    one folder at once, on a core each.
    """
    # The short ones first, of which a table can be made early.
    wanted = {
        (part, seed, each.name): f"{number}.{part}.{seed}"
        for part, seed, (number, each) in product(reversed(PARTS), range(seeds), enumerate(CANDIDATES))
    }
    candidates = {each.name: each for each in CANDIDATES}

    def make(part: int, seed: int, name: str) -> Result:
        return _run(pretrained(), part, seed, candidates[name])

    found = all_runs(Result, lambda run: (run.part, run.seed, run.candidate), wanted, make, out, earlier)
    tell(ranked(found), found, _show, json_to)


def _run(start: Pretrained, part: int, seed: int, candidate: Candidate) -> Result:
    from hbo_plugin.signals.held_out import held_out_losses

    steps = STEPS // part
    block = {"target": [*HELPERS], "levels": 1, "max_epochs": CAP, "method": "static", "prior": candidate.prior}
    with start.training(block, steps, seed, math.ceil(WARM_UP / part)) as training:
        context, data = training.run.context, training.run.data
        middle: dict[str, float] = {}
        for step in range(1, steps + 1):
            training.step(step)
            if step == steps // 2:
                middle = held_out_losses(context, data.steering)
        end, judging = (held_out_losses(context, half) for half in (data.steering, data.judging))
    return Result(part, seed, candidate.name, middle, end, judging, versions())


def ranked(results: Sequence[Result]) -> list[Ranking]:
    """Compare the trials of each length with whole runs, in the seeds that have all of both."""
    from scipy.stats import spearmanr

    by_trial: dict[tuple[int, int], dict[str, Result]] = {}
    for each in results:
        by_trial.setdefault((each.part, each.seed), {})[each.candidate] = each
    full = {key: found for key, found in by_trial.items() if len(found) == len(CANDIDATES)}
    names = [each.name for each in CANDIDATES[1:]]
    made = []
    for part in PARTS:
        pairs = [(found, full[1, seed]) for (of, seed), found in full.items() if of == part and (1, seed) in full]
        if not pairs:
            continue
        helper, others, firsts, orders = [], [], [], []
        for (found, whole), target in product(pairs, HELPERS):
            ours, theirs = (np.array([each[name].end[target] for name in names]) for each in (found, whole))
            differences = ours - found[EVEN].end[target]
            own = _OTHERS.index(HELPERS[target])
            helper.append(differences[own])
            others += np.delete(differences, own).tolist()
            firsts.append((int(ours.argmin()) == own, ours.argmin() == theirs.argmin()))
            orders.append(float(spearmanr(ours, theirs).statistic))
        behind = [
            dataset
            for (found, _), (name, dataset) in product(pairs, zip(names, _OTHERS, strict=True))
            if worse_for_each(HELPERS, found[name].middle, found[EVEN].middle)
        ]
        made.append(
            Ranking(
                part,
                readings=len(firsts),
                helper_first=sum(first for first, _ in firsts),
                as_whole=sum(bool(alike) for _, alike in firsts),
                helper=float(np.mean(helper)),
                lowest_other=min(others),
                clearly=sum(difference < _CLEARLY for difference in others),
                others=len(others),
                order=float(np.mean(orders)),
                given_up=len(behind),
                helpers_given_up=sum(dataset in HELPERS.values() for dataset in behind),
                trials=len(pairs) * len(names),
            )
        )
    return made


def _show(rankings: Sequence[Ranking]) -> None:
    table = Table(title="The first by short trials and by whole runs", title_justify="left", title_style="bold")
    for header in ("steps", "own helper first", "first of the whole run", "its difference"):
        table.add_column(header, justify="right")
    for header in ("lowest other", f"others below {_CLEARLY}", "rank correlation", "given up at half", "of helpers"):
        table.add_column(header, justify="right")
    for each in rankings:
        table.add_row(
            str(STEPS // each.part),
            f"{each.helper_first} of {each.readings}",
            f"{each.as_whole} of {each.readings}",
            f"{each.helper:+.3f}",
            f"{each.lowest_other:+.3f}",
            f"{each.clearly} of {each.others}",
            f"{each.order:.2f}",
            f"{each.given_up} of {each.trials}",
            str(each.helpers_given_up),
        )
    wide_console().print(table)
