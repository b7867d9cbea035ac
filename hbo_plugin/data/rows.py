"""Rows: what hbo reads of tokenised rows, which Arrow holds."""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Sequence, Value
from datasets.table import MemoryMappedTable, concat_tables
from numpy.typing import NDArray

from hbo_plugin.signals.padding import IGNORED

_NEEDED = ("input_ids", "attention_mask", "labels")
_WIDTHS = {"input_ids": "int32", "attention_mask": "int8", "labels": "int64", "position_ids": "int64"}


class TokenError(ValueError):
    """Rows that the user tokenised and that cannot be trained on; the message says which and why."""


def check(dataset: Dataset) -> None:
    """Raise a TokenError where rows that the user tokenised lack a column or a value."""
    if missing := [f"`{name}`" for name in _NEEDED if name not in dataset.column_names]:
        msg = f"its rows have `input_ids` but no {' and no '.join(missing)}; add what is missing, or set a `type` that makes them"
        raise TokenError(msg)
    first = 0
    for batch in _batches(dataset, *_NEEDED):
        tokens = [pc.fill_null(pc.list_value_length(batch[name]), -1).to_numpy() for name in _NEEDED]
        wrong = (tokens[0] < 0) | (tokens[1] != tokens[0]) | (tokens[2] != tokens[0])
        if wrong.any():
            row = int(wrong.argmax())
            found = [
                f"{values[row]} `{name}`" if values[row] >= 0 else f"no `{name}`"
                for name, values in zip(_NEEDED, tokens, strict=True)
            ]
            msg = f"row {first + row + 1} has {', '.join(found)}; a row needs as many of each, so correct or remove it"
            raise TokenError(msg)
        first += len(batch)


def read(files: Iterable[Path], columns: Collection[str] | None = None) -> Dataset:
    """The rows in Arrow files, one file after the other and without a copy; `typed` made them alike.

    Where it is not said which of their columns, those that every file has and that a collator can put into a batch: lists
    of numbers. Of these, the Trainer drops what its model does not take. Not as many Datasets and then one of them all:
    each takes as long as hundreds of rows.
    """
    tables = [MemoryMappedTable.from_file(str(file)) for file in files]
    shared = [
        name
        for name in tables[0].column_names
        if (all(_holds_numbers(table.schema, name) for table in tables) if columns is None else name in columns)
    ]
    alike = (table if table.column_names == shared else table.select(shared) for table in tables)
    return Dataset(concat_tables([*alike]))


def _holds_numbers(schema: pa.Schema, name: str) -> bool:
    """Whether the values of a column are lists of numbers, or lists of such lists."""
    if name not in schema.names:
        return False
    inner = outer = schema.field(name).type
    while pa.types.is_list(inner) or pa.types.is_large_list(inner):
        inner = inner.value_type
    return inner is not outer and (pa.types.is_integer(inner) or pa.types.is_floating(inner))


def typed(dataset: Dataset) -> Dataset:
    """The rows with integers of equal widths in every dataset, on which Axolotl's strategies do not agree."""
    features = dataset.features.copy()
    features.update({name: Sequence(Value(width)) for name, width in _WIDTHS.items() if name in features})
    return dataset if features == dataset.features else dataset.cast(features)


def lengths(dataset: Dataset, column: str = "input_ids") -> NDArray[np.int32]:
    """Tokens of each row, int32[rows]."""
    parts = [pc.list_value_length(batch[column]).to_numpy() for batch in _batches(dataset, column)]
    return np.asarray(np.concatenate([np.empty(0, np.int32), *parts]), dtype=np.int32)


def tokens(dataset: Dataset) -> Iterator[bytes]:
    """The tokens of each row, in order."""
    for batch in _batches(dataset, "input_ids"):
        values = batch["input_ids"].combine_chunks()
        whole, ends = values.flatten().to_numpy(), np.cumsum(pc.list_value_length(values).to_numpy(), dtype=np.int64)
        yield from (row.astype(np.int32).tobytes() for row in np.split(whole, ends[:-1]))


def trained(dataset: Dataset) -> NDArray[np.int32]:
    """Tokens of each row that the model learns to predict, int32[rows]; the first token of a row is never predicted."""
    parts = [np.empty(0, np.int32)]
    for batch in _batches(dataset, "labels"):
        values = batch["labels"].combine_chunks()
        ends = np.concatenate([[0], np.cumsum(pc.list_value_length(values).to_numpy(), dtype=np.int64)])
        learned = np.asarray(values.flatten()) != IGNORED
        learned[ends[:-1][np.diff(ends) > 0]] = False
        parts.append(np.diff(np.concatenate([[0], np.cumsum(learned)])[ends]))
    return np.concatenate(parts).astype(np.int32)


def digest(dataset: Dataset, columns: Collection[str] = ("input_ids", "labels")) -> str:
    """A digest of all tokens and labels, in order; Axolotl's own fingerprints change when the same data are prepared anew."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in _batches(dataset, *columns):
        for name in columns:
            values = batch[name].combine_chunks()
            digest.update(np.asarray(pc.list_value_length(values), dtype=np.int32).tobytes())
            digest.update(np.asarray(values.flatten(), dtype=np.int32).tobytes())
    return digest.hexdigest()


def _batches(dataset: Dataset, *names: str) -> Iterator[pa.Table]:
    yield from dataset.with_format("arrow", columns=list(names)).iter(batch_size=10_000)
