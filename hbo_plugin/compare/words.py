"""What a comparison says in words: the same in a terminal and in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbo_plugin.compare.statistics import LEVEL, MOST_SEEDS
from hbo_plugin.messages import listed

if TYPE_CHECKING:
    from hbo_plugin.compare.outcome import ArmOutcome, Comparison
    from hbo_plugin.compare.statistics import Difference

TARGET = "Loss of the target at the end of the run, in nats per token"


def verdicts(found: Comparison) -> list[str]:
    """A sentence on each arm that is judged, and one on the timing of each that has a control."""
    judged = [_in_words(each, found.baseline) for each in found.arms if each.verdict]
    return judged + [
        _of_timing(each.arm, each.from_control)
        for each in found.arms
        if each.from_control and each.from_control.p is not None
    ]


def how_judged(found: Comparison) -> str:
    """Which test it was, at how many seeds."""
    seeds = sorted({each.seeds for each in found.arms if each.difference})
    pairs = " or ".join(dict.fromkeys(map(str, (*seeds[:1], *seeds[-1:])))) or "no"
    return (
        f"Below 0 is better. Brackets are 95% intervals of Student's t over pairs of runs with one seed, of which an arm has "
        f"{pairs}; with few seeds they rely on differences that are about normal. A verdict holds at {LEVEL:.0%} for all arms "
        f"together, after Holm."
    )


def of_sets(found: Comparison) -> str:
    """What the table of held-out sets shows."""
    return f"Each held-out set: the difference from {found.baseline}"


def caveats(found: Comparison) -> list[str]:
    """What a reader must know beside the numbers."""
    told = []
    if not found.arms:
        told.append(f"No seed has both a run of {found.baseline} and one of another arm yet.")
    if found.unequal_steps:
        told.append("The runs made different numbers of steps, so their losses are not those of equal work.")
    if found.without_number:
        told.append(f"Left out, as their loss was no number at the end: {listed(found.without_number)}.")
    if found.missing:
        told.append(f"Not finished: {listed(found.missing)}. The same command goes on with them.")
    return told


def with_interval(found: Difference, gap: str = "\n") -> str:
    """A difference with its interval after a gap, where it has one."""
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f}{gap}[{found.low:+.3f}, {found.high:+.3f}]"


def _in_words(each: ArmOutcome, baseline: str) -> str:
    if each.verdict != "inconclusive":
        return f"{each.arm}: {each.verdict} than {baseline}."
    if each.seeds < 2:
        return f"{each.arm}: inconclusive. One seed has no error; two are the least, and five a start."
    if each.difference and each.difference.low == each.difference.high == 0:
        return f"{each.arm}: the same as {baseline} to the last digit."
    if each.settled_by is None:
        return (
            f"{each.arm}: inconclusive. If there is a difference from {baseline}, it is so small that {MOST_SEEDS} seeds "
            f"may not show it."
        )
    return (
        f"{each.arm}: inconclusive. {each.settled_by - each.seeds} more seeds would settle it four times in five, if the "
        f"difference is what it looks like."
    )


def _of_timing(arm: str, found: Difference) -> str:
    interval = with_interval(found, " ")
    apart = found.low is not None and found.high is not None and not found.low <= 0 <= found.high
    what = "its timing" if apart else "nothing that is seen"
    return f"{arm} from its own average weights, held all run long: {interval}. What separates them is {what}."
