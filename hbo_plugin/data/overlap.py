"""Overlap: held-out rows that are trained on too, whose loss says less than it seems."""

from datasets import Dataset

from hbo_plugin.data.rows import tokens
from hbo_plugin.signals.context import HeldOutRows


def notes_on_overlap(train: Dataset, held_out: HeldOutRows) -> list[str]:
    """What a user should know of each held-out set with rows that have the very tokens of rows to train on.

    Args:
        train: the tokenised rows to train on.
        held_out: rows that are not meant to be among them.
    """
    if not held_out.sets:
        return []
    held = [*tokens(held_out.rows)]
    shared = set(held).intersection(tokens(train))
    notes = []
    for name, part in held_out.sets.items():
        if count := sum(held[row] in shared for row in part):
            notes.append(
                f"{count} of {len(part)} rows of the held-out set `{name}` are trained on too, so its loss tells how well they "
                f"are remembered; take them out of one of the two"
            )
    return notes
