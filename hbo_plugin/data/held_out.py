"""Held-out sets: how many rows a dataset holds out, which set belongs to which dataset, and which ones count."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.messages import listed, nearest

TARGET = "target"
"""The name under which evaluations report the loss of the run's target: the mean over the held-out sets that count."""

_ENOUGH = 8
"""Fewer held-out rows than this give a loss that says little; so many are held out where they are a small part."""
_SMALL_PART = 0.2
_STEERING_ROWS = 4
"""From fewer rows, `max_epochs: auto` cannot tell whether a loss has risen."""
_SPLIT_SEED = 2505
"""Of the halves of a held-out set: the same for every run, so that all are judged on the same rows."""


def target_shares(target: Mapping[str, float] | Sequence[str] | None, sets: Sequence[str]) -> dict[str, float]:
    """How much each held-out set counts: shares that sum to 1, of those that `hbo.target` names, or of all alike.

    Raises:
        ValueError: `hbo.target` names a set that there is not.
    """
    if TARGET in sets:
        msg = f"a held-out set is called `{TARGET}`, the name under which evaluations report what counts; give it another."
        raise ValueError(msg)
    for name in target or ():
        if name not in sets:
            raise ValueError(_no_such_set(f"target: {name}", name, sets))
    given = dict(target) if isinstance(target, Mapping) else dict.fromkeys(target or sets, 1.0)
    total = sum(given.values())
    return {name: share / total for name, share in given.items()}


def counted(tied: Mapping[str, str], target: Collection[str]) -> frozenset[str]:
    """The datasets that a held-out set of the target belongs to; `tied` has the set of each dataset that has one."""
    return frozenset(name for name, held_out in tied.items() if held_out in target)


def mean_loss(losses: Mapping[str, float], target: Mapping[str, float]) -> float:
    """The loss of the target: the mean of its sets by their shares, without those that have no loss; NaN where none has."""
    known = {name: share for name, share in target.items() if np.isfinite(losses[name])}
    return float(np.average([losses[name] for name in known], weights=[*known.values()])) if known else float("nan")


def halves(rows: NDArray[np.int64], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split a held-out set into the rows that judge a run and those that steer it, in their order; the first has one more.

    Raises:
        ValueError: the set has a single row.
    """
    if len(rows) < 2:
        msg = (
            f"held-out set `{name}` has {len(rows)} row, but half of a set that steers the run must be kept to judge it; "
            "give it more rows, or leave it out of `hbo.target`."
        )
        raise ValueError(msg)
    order = np.random.default_rng([_SPLIT_SEED, len(rows)]).permutation(len(rows))
    judging = (len(rows) + 1) // 2
    return rows[np.sort(order[:judging])], rows[np.sort(order[judging:])]


def notes_on_steering(steering: Mapping[str, NDArray[np.int64]]) -> list[str]:
    """What a user should know about the rows of each held-out set that steer."""
    return [
        f"held-out set `{name}` steers with {len(rows)} rows; fewer than {_ENOUGH} say little, and the weights may stay at the prior"
        for name, rows in steering.items()
        if len(rows) < _ENOUGH
    ]


def _no_such_set(given: str, name: str, sets: Iterable[str]) -> str:
    near = nearest(name, sets)
    hint = f"did you mean `{near}`? There are" if near else "there are"
    known = listed(sets) or "none; set `test_datasets` or `val_set_size`"
    return f"`hbo.{given}` names a held-out set that does not exist; {hint} {known}."


def holds_out(val_set_size: float, own: Mapping[str, float], name: str) -> bool:
    """Whether a dataset is to hold out rows of its own; the arguments are those of `held_out_counts`."""
    return bool(own.get(name, val_set_size))


def held_out_counts(
    val_set_size: float, own: Mapping[str, float], rows: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Rows that each dataset holds out, always leaving one to train on, and notes on those that hold out few.

    Args:
        val_set_size: Axolotl's key: a share of every dataset, or a number of rows in all.
        own: by name, what replaces it for single datasets: a share below 1, or a number of rows.
        rows: of each dataset.
    """
    share = val_set_size if val_set_size < 1 else val_set_size / max(1, sum(rows.values()))
    held, notes = {}, []
    for name, count in rows.items():
        wanted = own.get(name, share * count)
        asked = round(wanted * count if name in own and wanted < 1 else wanted)
        raised = 0 if name in own or not share else min(_ENOUGH, int(_SMALL_PART * count))
        held[name] = max(0, min(count - 1, max(asked, raised)))
        if (wanted > 0 and held[name] < _ENOUGH) or held[name] > asked:
            instead = f" instead of {asked}" if held[name] > asked else ""
            notes.append(
                f"dataset `{name}` holds out {held[name]} of its {count} rows{instead}; "
                f"a loss on fewer than {_ENOUGH} rows says little, and `hbo.val_set_size` sets the number"
            )
    return held, notes


def judged(
    auto: Iterable[str], sets: Mapping[str, Collection[int]], tied: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Of the datasets of `max_epochs: auto`, those whose held-out set can tell when to stop them; and a note on the others.

    Args:
        auto: their names.
        sets: the rows of each held-out set, steering and judging.
        tied: the set of each dataset that has one.
    """
    auto = list(auto)
    found = [name for name in auto if name in tied and len(sets[tied[name]]) // 2 >= _STEERING_ROWS]
    others = [name for name in auto if name not in found]
    note = (
        f"`max_epochs: auto` cannot judge {listed(others)}, with fewer than {2 * _STEERING_ROWS} held-out rows of its own, "
        f"so the default of `max_epochs` holds; `hbo.val_set_size` sets the number of rows"
    )
    return found, [note] if others else []


def ties(datasets: Iterable[str], sets: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The held-out set of each dataset that has one: by `hbo.held_out`, or of the same name.

    Args:
        datasets: names.
        sets: names.
        given: `hbo.held_out`, whose keys are known to be datasets.

    Raises:
        ValueError: `hbo.held_out` names a set that there is not.
    """
    sets = list(sets)
    for dataset, name in given.items():
        if name not in sets:
            raise ValueError(_no_such_set(f"held_out: {{{dataset}: {name}}}", name, sets))
    return {dataset: given.get(dataset, dataset) for dataset in datasets if given.get(dataset, dataset) in sets}
