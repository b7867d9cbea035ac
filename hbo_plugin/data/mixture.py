"""The mixture: which datasets and held-out sets a run has, decided once and before anything is tokenised."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hbo_plugin import compat
from hbo_plugin.args import HBOConfig
from hbo_plugin.data.columns import Column, Columns, no_column, values_of
from hbo_plugin.data.entries import Entries
from hbo_plugin.data.groups import Counted, Group, group, merge_notes, merged_values
from hbo_plugin.data.held_out import ties
from hbo_plugin.data.names import entry_names, is_name
from hbo_plugin.data.prepared import Prepared
from hbo_plugin.messages import listed


@dataclass(frozen=True)
class Part:
    """One entry of `datasets:` or `test_datasets:`, and the datasets or held-out sets that its rows are in.

    Attributes:
        name: of the entry.
        entry: as configured.
        groups: one dataset or held-out set each.
        column: that groups the rows; None where it is not grouped.
    """

    name: str
    entry: Any
    groups: Sequence[Group]
    column: Column | None = None

    def rows(self, prepared: Prepared) -> dict[str, NDArray[np.int64]]:
        """The prepared rows of each dataset, by its name."""
        if self.column is None:
            return {self.groups[0].name: np.arange(len(prepared.lengths))}
        texts = _texts(values_of(self.column, prepared.raw_row, self.name, "group_by")).dictionary_encode()
        place = {value: index for index, each in enumerate(self.groups) for value in each.values or ()}
        owner = np.array([place[text] for text in texts.dictionary.to_pylist()], np.int64)[texts.indices.to_numpy()]
        return {each.name: np.flatnonzero(owner == index) for index, each in enumerate(self.groups)}

    def raw_rows(self, prepared: Prepared) -> dict[str, int]:
        """How many rows of the user's each dataset was made of, by its name."""
        if self.column is None:
            return {self.groups[0].name: prepared.raw_rows}
        counts = _counts(self.column)
        return {each.name: sum(counts[value] for value in each.values or ()) for each in self.groups}


@dataclass(frozen=True)
class Mixture:
    """The datasets of a run, and the held-out sets that `test_datasets:` names.

    Attributes:
        training: the entries of `datasets:`.
        held_out: the entries of `test_datasets:`.
        left_out: the datasets of which no row is drawn.
        notes: what a user should know about them, a sentence each.
    """

    training: Sequence[Part]
    held_out: Sequence[Part]
    left_out: frozenset[str] = frozenset()
    notes: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """Of the datasets that are drawn, in order."""
        return [name for name in self.all_names if name not in self.left_out]

    @property
    def all_names(self) -> list[str]:
        """Of the datasets, in order, with those that are left out."""
        return [each.name for part in self.training for each in part.groups]

    @property
    def sets(self) -> list[str]:
        """The names of the held-out sets, in order."""
        return [each.name for part in self.held_out for each in part.groups]


def find_mixture(cfg: Any, config: HBOConfig) -> Mixture:
    """The mixture of a run; refuses every name in the block that is none of its datasets or held-out sets.

    Raises:
        ValueError: says what of the block does not fit the data.
    """
    entries, tests = cfg.datasets, cfg.test_datasets or []
    names, sets = entry_names(entries, config.names), entry_names(tests)
    if config.group_by is None:
        if config.group_min_rows is not None:
            msg = (
                f"`hbo.group_min_rows: {config.group_min_rows}` was given, but there is no `hbo.group_by` whose values it could "
                f"merge; name a column there, or remove it."
            )
            raise ValueError(msg)
        parts = [Part(name, entry, [Group(name)]) for name, entry in zip(names, entries, strict=True)]
        held_out = [Part(name, entry, [Group(name)]) for name, entry in zip(sets, tests, strict=True)]
        mixture = Mixture(parts, held_out, notes=_how_to_get_more(config, names))
    else:
        mixture = _grouped(cfg, config, names, sets)
    config.check_names(mixture.all_names)
    if tests:
        ties(mixture.all_names, mixture.sets, config.held_out or {})
    left_out = frozenset(config.left_out)
    return replace(mixture, left_out=left_out, notes=[*mixture.notes, *_left_out(left_out, mixture)])


def _grouped(cfg: Any, config: HBOConfig, names: Sequence[str], sets: Sequence[str]) -> Mixture:
    key = str(config.group_by)
    columns = Columns(Entries(cfg))

    def read() -> tuple[list[Column], list[Column]]:
        return (
            [columns.read(name, entry, "train", key) for name, entry in zip(names, cfg.datasets, strict=True)],
            [columns.read(name, entry, "test", key) for name, entry in zip(sets, cfg.test_datasets or [], strict=True)],
        )

    training, held_out = compat.with_prepare_lock(cfg, read)
    if not any(column.exists for column in training):
        raise ValueError(no_column("group_by", key, names, [each for column in training for each in column.present]))
    counted = [_counted(name, column, key) for name, column in zip(names, training, strict=True)]
    tested = [_counted(name, column, key) for name, column in zip(sets, held_out, strict=True)]
    least, named = config.group_min_rows or 0, _named(config)
    groups = group(counted, least=least, named=named)
    test_groups = group(tested, merged=merged_values(groups), named=named)
    return Mixture(
        [Part(*each) for each in zip(names, cfg.datasets, groups, map(_if_grouped, training), strict=True)],
        [
            Part(*each)
            for each in zip(sets, cfg.test_datasets or [], test_groups, map(_if_grouped, held_out), strict=True)
        ],
        notes=merge_notes(counted, groups, least),
    )


def _named(config: HBOConfig) -> set[str]:
    """Every text inside a mapping or a list of the block: there, keys name datasets and held-out sets."""

    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from texts([*value, *value.values()])
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)

    return {
        text
        for value in config.model_dump(exclude={"row_weights"}).values()
        if not isinstance(value, str)
        for text in texts(value)
    }


def _if_grouped(column: Column) -> Column | None:
    return column if column.exists else None


def _counted(name: str, column: Column, key: str) -> Counted:
    """The raw rows of each value of an entry; refuses values that can name no dataset."""
    if not column.exists:
        return Counted(name, None)
    values, kind = column.values, column.values.type
    if values.null_count:
        row = int(column.row[values.is_null().to_numpy(zero_copy_only=False).argmax()])
        msg = f"`hbo.group_by: {key}` has no value in row {row + 1} of dataset `{name}`; correct or remove the row."
        raise ValueError(msg)
    if not any(
        fits(kind) for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    ):
        msg = (
            f"`hbo.group_by: {key}` is a column of type `{kind}` in dataset `{name}`, but it must hold text, integers or "
            f"booleans; name such a column."
        )
        raise ValueError(msg)
    counts = _counts(column)
    if wrong := [value for value in counts if not is_name(value)]:
        row = int(column.row[pc.index(_texts(values), wrong[0]).as_py()])
        msg = (
            f"`hbo.group_by: {key}` has the value {wrong[0]!r} in row {row + 1} of dataset `{name}`, but a name is text on one "
            f"line, without a space at its ends; correct it."
        )
        raise ValueError(msg)
    return Counted(name, counts)


def _counts(column: Column) -> dict[str, int]:
    """Raw rows of each value, in the order of the values."""
    counted = pc.value_counts(column.values).sort(by="values")
    return dict(zip(_texts(counted.field("values")).to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _texts(values: pa.Array) -> pa.Array:
    """The values as text: integers in digits, booleans as in YAML."""
    return values.cast(pa.string())


def _left_out(left_out: Collection[str], mixture: Mixture) -> list[str]:
    out = [name for name in mixture.all_names if name in left_out]
    return (
        [f"{listed(out)} {'has' if len(out) == 1 else 'have'} the weight 0 and will not be trained on"] if out else []
    )


def _how_to_get_more(config: HBOConfig, names: Sequence[str]) -> list[str]:
    """What hbo does for a single dataset, and how it does more; nothing where row weights are what it is for."""
    if len(names) > 1 or config.row_weights:
        return []
    levels = max(config.levels_of(names))
    does = f"hbo balances its {levels} levels only" if levels > 1 else "there is nothing for hbo to balance"
    return [f"there is one dataset, so {does}; `hbo.group_by: COLUMN` makes a dataset of each value of a column"]
