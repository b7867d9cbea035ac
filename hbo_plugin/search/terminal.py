"""What the terminal shows of a search: its trials, what they nominate, and what was confirmed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.compare.terminal import with_interval
from hbo_plugin.messages import listed
from hbo_plugin.report.terminal import literal, table, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from hbo_plugin.compare.outcome import Comparison
    from hbo_plugin.search.find import Round


def of_trials(found: Round, target: Sequence[str], baseline: str, steps: int) -> RenderableType:
    """Render what short trials came to on the rows that steer."""
    outside = any(trial.outside is not None for trial in found.trials)
    made = table([*target, *(["all others"] if outside else [])])
    made.columns[0].header = "trial"
    for trial in found.trials:
        cells = [with_interval(trial.sets[name]) for name in target]
        if outside:
            cells.append("" if trial.outside is None else f"{trial.outside:+.3f}")
        made.add_row(literal(f"{trial.name}, at half" if trial.given_up else trial.name), *cells)
    told = [f"Best for {name}: {trial.name}." for name, trial in found.nominated.items()]
    if any(trial.given_up for trial in found.trials):
        told.append(f"At half: given up there, as it was worse than {baseline} for each held-out set of the target.")
    if found.failed:
        told.append(f"Left out, as they failed or came to no number: {listed(found.failed)}.")
    heading = title(f"Trials of {steps:,} steps: loss of the steering rows minus that of {baseline}")
    return Group(heading, made, "", *map(literal, told), "")


def conclusion(found: Comparison, chosen: str | None, prior: object) -> RenderableType:
    """Say what to train with."""
    if chosen is None:
        return literal(f"Nothing was shown to be better than {found.baseline}: stay with that.")
    block = ["hbo:", "  method: static", f"  prior: {prior}"]
    if isinstance(prior, dict):
        names = [f"    {json.dumps(name, ensure_ascii=False)}: {share:.4g}" for name, share in prior.items()]
        block = ["hbo:", "  weights:", *names]
    return Group(literal(f"{chosen} is better. As a block to paste:"), "", *map(literal, block))
