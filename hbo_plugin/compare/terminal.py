"""What the terminal shows of a comparison: the tables, and what they say in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group

from hbo_plugin.compare.statistics import LEVEL, MOST_SEEDS
from hbo_plugin.messages import listed
from hbo_plugin.report.terminal import literal, table, title

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from hbo_plugin.compare.outcome import ArmOutcome, Comparison
    from hbo_plugin.compare.statistics import Difference


def comparison(found: Comparison) -> RenderableType:
    """Render it."""
    parts: list[RenderableType] = []
    if found.arms:
        parts += [title("Loss of the target at the end of the run, in nats per token"), _arms(found), ""]
        parts += [literal(_in_words(each, found.baseline)) for each in found.arms if each.verdict]
        parts += [
            literal(_of_timing(each.arm, each.from_control))
            for each in found.arms
            if each.from_control and each.from_control.p is not None
        ]
        if sets := {name for each in found.arms for name in each.sets}:
            parts += ["", title(f"Each held-out set: the difference from {found.baseline}"), _sets(found, sorted(sets))]
        parts += [
            "",
            (
                "Below 0 is better. Brackets are 95% intervals of Student's t over pairs of runs with one seed, which with few "
                f"seeds rely on differences that are about normal. A verdict holds at {LEVEL:.0%} for all arms together, after Holm."
            ),
        ]
    else:
        parts.append(f"No seed has both a run of {found.baseline} and one of another arm yet.")
    if found.unequal_steps:
        parts += ["", "The runs made different numbers of steps, so their losses are not those of equal work."]
    if found.without_number:
        parts += ["", literal(f"Left out, as their loss was no number at the end: {listed(found.without_number)}.")]
    if found.missing:
        parts += ["", literal(f"Not finished: {listed(found.missing)}. The same command goes on with them.")]
    return Group(*parts)


def _arms(found: Comparison) -> Table:
    timed = found.arms[0].seconds
    equal = any(each.at_equal_tokens for each in found.arms)
    headers = ["seeds", "loss", f"from\n{found.baseline}", "p"]
    made = table([*headers, *(["at equal\ntokens"] if equal else []), *(["time"] if timed else [])])
    made.columns[0].header = "arm"
    for each in found.arms:
        cells = [
            str(each.seeds),
            f"{each.target:.3f}",
            with_interval(each.difference) if each.difference else "",
            "" if each.p is None else f"{each.p:.3f}",
        ]
        if equal:
            cells.append(with_interval(each.at_equal_tokens) if each.at_equal_tokens else "")
        if timed:
            cells.append(f"{each.seconds / timed:.2f}x" if each.seconds else "")
        made.add_row(literal(each.arm), *cells)
    return made


def _sets(found: Comparison, sets: list[str]) -> Table:
    arms = [each for each in found.arms if each.sets]
    made = table([each.arm.replace(", ", ",\n") for each in arms])
    made.columns[0].header = "held-out set"
    for name in sets:
        made.add_row(literal(name), *(with_interval(each.sets[name]) if name in each.sets else "" for each in arms))
    return made


def with_interval(found: Difference) -> str:
    """A difference with its interval in a line below, where it has one."""
    if found.low is None or found.high is None:
        return f"{found.mean:+.3f}"
    return f"{found.mean:+.3f}\n[{found.low:+.3f}, {found.high:+.3f}]"


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
    interval = with_interval(found).replace("\n", " ")
    apart = found.low is not None and found.high is not None and not found.low <= 0 <= found.high
    what = "its timing" if apart else "nothing that is seen"
    return f"{arm} from its own average weights, held all run long: {interval}. What separates them is {what}."
