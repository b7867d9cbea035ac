"""Groups: which values of a `group_by` column make a dataset, and what it is called. Counts and names only."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from hbo_plugin.messages import listed

OTHER = "other"
"""The dataset of the values that have too few rows for one of their own."""
MOST = 256
"""More datasets than this are no mixture that anybody can read."""
_SHOWN = 8
"""So many values does a note name."""


@dataclass(frozen=True)
class Counted:
    """An entry before it is grouped.

    Attributes:
        name: of the entry.
        rows: raw rows of each value of the column, by its text; None for an entry without the column.
    """

    name: str
    rows: Mapping[str, int] | None


@dataclass(frozen=True)
class Group:
    """One dataset of an entry.

    Attributes:
        name: of the dataset.
        values: of the column, as text; None for all rows of an entry that is not grouped.
        merged: whether these are the values with few rows.
    """

    name: str
    values: tuple[str, ...] | None = None
    merged: bool = False


def group(
    entries: Sequence[Counted], *, least: int = 0, merged: Collection[str] = (), named: Collection[str] = ()
) -> list[list[Group]]:
    """The datasets of each entry; those of a grouped one in the order of its values, and `other` at the end.

    Args:
        entries: in the order of the configuration.
        least: a value with fewer rows is merged into `other`.
        merged: values that are merged however many rows they have.
        named: datasets that the configuration names; their values are never merged.

    Raises:
        ValueError: a value is called `other` beside a merge, there are too many values, or two datasets have one name.
    """
    made = [_split(entry, least, merged, named) for entry in entries]
    parts = [part for groups in made for part in groups]
    if any(part.merged for part in parts) and any(part.values == (OTHER,) and not part.merged for part in parts):
        msg = (
            f"`hbo.group_min_rows` merges values with few rows into `{OTHER}`, but `hbo.group_by` finds a value of that name; "
            f"rename the value, or remove `hbo.group_min_rows`."
        )
        raise ValueError(msg)
    times = Counter(part.name for part in parts)
    named_apart = [
        [
            replace(part, name=f"{entry.name}/{part.name}") if part.values and times[part.name] > 1 else part
            for part in groups
        ]
        for entry, groups in zip(entries, made, strict=True)
    ]
    times = Counter(part.name for groups in named_apart for part in groups)
    if twice := [name for name, count in times.items() if count > 1]:
        msg = (
            f"`hbo.group_by` makes two datasets called {listed(twice)}; call the entries something else in `hbo.names`."
        )
        raise ValueError(msg)
    return named_apart


def merged_values(groups: Sequence[Sequence[Group]]) -> set[str]:
    """The values that are in `other`, and nowhere a dataset of their own."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for part in (part for parts in groups for part in parts):
        found[part.merged].update(part.values or ())
    return found[True] - found[False]


def merge_notes(entries: Sequence[Counted], groups: Sequence[Sequence[Group]], least: int) -> list[str]:
    """A sentence for each entry whose values were merged."""
    notes = []
    for entry, parts in zip(entries, groups, strict=True):
        for values, name in ((part.values or (), part.name) for part in parts if part.merged):
            rows = sum((entry.rows or {})[value] for value in values)
            more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
            shown = f"{listed(values[:_SHOWN])}{more}"
            notes.append(f"dataset `{name}` has the {rows} rows of {shown}, which have fewer than {least} rows each")
    return notes


def _split(entry: Counted, least: int, merged: Collection[str], named: Collection[str]) -> list[Group]:
    if entry.rows is None:
        return [Group(entry.name)]
    few = {
        value
        for value, count in entry.rows.items()
        if (count < least or value in merged) and not {value, f"{entry.name}/{value}"}.intersection(named)
    }
    own = [Group(value, (value,)) for value in entry.rows if value not in few]
    groups = [*own, Group(OTHER, tuple(value for value in entry.rows if value in few), merged=True)] if few else own
    if len(groups) > MOST:
        msg = (
            f"`hbo.group_by` would make {len(groups)} datasets of `{entry.name}`, but it makes {MOST} at most; "
            f"name a column with fewer values, or merge those with few rows by `hbo.group_min_rows`."
        )
        raise ValueError(msg)
    return groups
