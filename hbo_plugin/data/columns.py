"""Columns: values of the user's rows, read before anything is tokenised, and kept by the number of the row."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hbo_plugin import compat, compat_rows
from hbo_plugin.data.entries import Entries
from hbo_plugin.data.files import write_whole
from hbo_plugin.messages import listed, nearest
from hbo_plugin.numbers import RAW_ROW

_ROW, _VALUE, _ABOUT = "row", "value", b"hbo"


@dataclass(frozen=True)
class Column:
    """One column of the raw rows of an entry.

    Attributes:
        row: the numbers of the raw rows that Axolotl takes, int64[rows] and ascending; see `Prepared.raw_row`.
        values: of each; nothing where the rows have no such column.
        present: the columns that the rows have.
        version: of data on a hub, which may change without a change here; None for files on this machine.
    """

    row: NDArray[np.int64]
    values: pa.Array
    present: tuple[str, ...]
    version: str | None

    @property
    def exists(self) -> bool:
        """Whether the rows have the column."""
        return len(self.values) == len(self.row) > 0

    def places(self, raw_row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the values of these raw rows stand."""
        return np.searchsorted(self.row, raw_row)


class Columns:
    """Reads columns through Axolotl's own loader of raw rows, and keeps them on disk."""

    def __init__(self, entries: Entries) -> None:
        """Nothing is read yet."""
        self._entries = entries
        self._read: dict[Path, Column] = {}

    def read(self, name: str, entry: Any, split: str, column: str) -> Column:
        """A column of an entry of `datasets:` or `test_datasets:`.

        Args:
            name: of the entry, for messages.
            entry: as configured.
            split: `train` or `test`.
            column: of the raw rows.

        Raises:
            ValueError: the rows cannot be loaded; names the entry.
        """
        # Under `rl`, Axolotl takes all raw rows of an entry, whatever it says of a part of them.
        stamp = json.dumps([entry, split, column, bool(self._entries.cfg.rl)], sort_keys=True, default=str)
        path = self._entries.folder / "columns" / f"{hashlib.blake2b(stamp.encode(), digest_size=8).hexdigest()}.arrow"
        if path not in self._read:
            made_of = {**self._entries.digests(entry), "Axolotl": compat.axolotl_version()}
            # `axolotl preprocess` reads anew, for data on a hub that may have changed.
            kept = None if self._entries.cfg.is_preprocess else _open(path, made_of)
            self._read[path] = kept or self._load(path, made_of, name, entry, split, column)
        return self._read[path]

    def _load(self, path: Path, made_of: Mapping[str, str], name: str, entry: Any, split: str, column: str) -> Column:
        try:
            parts = compat_rows.raw_rows(self._entries.alone(entry, split), split)
        except Exception as error:
            msg = f"dataset `{name}` cannot be loaded; Axolotl says `{type(error).__name__}: {error}`."
            raise ValueError(msg) from error
        present = [each for each in parts[0].rows.column_names if each != RAW_ROW]
        names = {_ROW: RAW_ROW, **({_VALUE: column} if column in present else {})}
        # Rows that Axolotl invents have no number.
        numbered = [part.rows for part in parts if RAW_ROW in part.rows.column_names]
        tables = [
            rows.with_format("arrow", columns=[*names.values()])[:].select([*names.values()]) for rows in numbered
        ]
        table = pa.concat_tables(tables) if tables else pa.table({RAW_ROW: pa.array([], pa.int64())})
        table = table.rename_columns([*names][: table.num_columns])
        version = None if len(made_of) > 1 else " ".join(part.version for part in parts)
        about = {"made_of": made_of, "present": present, "version": version}
        table = table.sort_by(_ROW).replace_schema_metadata({_ABOUT: json.dumps(about)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        with suppress(OSError):  # a folder that cannot be written costs time and nothing else
            write_whole(path, sink.getvalue().to_pybytes())
        return _column(table, about)


def values_of(column: Column, raw_row: NDArray[np.int64] | None, name: str, key: str) -> pa.Array:
    """The value of each prepared row, by the raw row that it was made of.

    Raises:
        ValueError: nobody knows which raw rows these are.
    """
    if raw_row is None:
        msg = (
            f"`hbo.{key}` looks up a column of dataset `{name}`, but its `type` does not tell which of the rows became which; "
            f"use another `type`, or remove the key."
        )
        raise ValueError(msg)
    return column.values.take(pa.array(column.places(raw_row)))


def no_column(key: str, column: str, names: Sequence[str], present: Iterable[str], others: Sequence[str] = ()) -> str:
    """The message for a key that names a column that these datasets lack; beside columns, it may be one of the `others`."""
    present = [*dict.fromkeys(present)]
    near = nearest(column, [*present, *others])
    instead = f", or write {', '.join(others[:-1])} or {others[-1]}" if others else ""
    hint = f"did you mean `{near}`?" if near else f"name one of them{instead}."
    have = "which has" if len(names) == 1 else "which have"
    return f"`hbo.{key}: {column}` is no column of dataset {listed(names)}, {have} {listed(present)}; {hint}"


def _open(path: Path, made_of: Mapping[str, str]) -> Column | None:
    """The column in a file; None where there is none, it is damaged, or was made of something else."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        about = json.loads(table.schema.metadata[_ABOUT])
        return _column(table, about) if about["made_of"] == made_of else None
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError):
        return None


def _column(table: pa.Table, about: Mapping[str, Any]) -> Column:
    values = table[_VALUE].combine_chunks() if _VALUE in table.column_names else pa.nulls(0)
    return Column(table[_ROW].to_numpy(), values, tuple(about["present"]), about["version"])
