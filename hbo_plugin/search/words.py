"""What a search says in words: the same in a terminal and in a page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hbo_plugin.compare.words import with_interval
from hbo_plugin.messages import listed

if TYPE_CHECKING:
    from hbo_plugin.search.find import Found


PASTE = "As a block to paste:"


def of_trials(found: Found) -> str:
    """What the table of trials shows."""
    return f"Trials of {found.trial_steps:,} steps: loss of the steering rows minus that of {found.baseline}"


def nominations(found: Found) -> list[str]:
    """Which trials are confirmed, and which were given up or left out."""
    told = [f"Best for {name}: {trial.name}." for name, trial in found.trials.nominated.items()]
    if any(trial.given_up for trial in found.trials.trials):
        told.append(
            f"At half: given up there, as it was worse than {found.baseline} for each held-out set of the target."
        )
    if found.trials.failed:
        told.append(f"Left out, as they failed or came to no number: {listed(found.trials.failed)}.")
    return told


def helped(found: Found) -> list[str]:
    """What each nomination did, in full runs, for the held-out set that nominated it."""
    arms = {arm.arm: arm for arm in found.confirmed.arms} if found.confirmed else {}
    pairs = ((name, trial.name) for name, trial in found.trials.nominated.items() if trial.name in arms)
    moved = {(name, arm): arms[arm].sets[name] for name, arm in pairs if name in arms[arm].sets}
    return [
        f"In full runs, {arm} moved the loss of {name} by {with_interval(difference, ' ')}."
        for (name, arm), difference in moved.items()
    ]


def conclusion(found: Found) -> str:
    """What to train with."""
    if found.confirmed is None:
        return f"No trial was better than {found.baseline}: stay with that."
    if found.chosen is not None:
        return f"{found.chosen} is better than {found.baseline}."
    if found.better:
        names = " and ".join(arm.arm for arm in found.better)
        return (
            f"{names} may be better than {found.baseline}, but one search in twenty finds as much by chance: call it again with "
            f"more `--seeds`, or stay with {found.baseline}."
        )
    return f"Nothing was shown to be better than {found.baseline}: stay with that."


def block(found: Found) -> list[str]:
    """The lines to paste; none where nothing is better."""
    if found.chosen is None:
        return []
    if not isinstance(found.prior, dict):
        return ["hbo:", "  method: static", f"  prior: {found.prior}"]
    shares = [f"    {json.dumps(name, ensure_ascii=False)}: {share:.4g}" for name, share in found.prior.items()]
    return ["hbo:", "  weights:", *shares]
