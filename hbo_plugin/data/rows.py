"""Rows: what hbo reads of a tokenised row. Training on something else than `input_ids` and `labels` would begin here."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

_COLUMNS = ("input_ids", "attention_mask", "labels")
_PACKED_COLUMN = "position_ids"  # by which the model tells packed rows apart


def columns(dataset: Dataset, *, packed: bool) -> Dataset:
    """The columns that a model is fed with; Axolotl leaves out the mask for models that do not want one."""
    wanted = [*_COLUMNS, _PACKED_COLUMN] if packed else _COLUMNS
    return dataset.select_columns([name for name in wanted if name in dataset.column_names])


def lengths(dataset: Dataset) -> NDArray[np.int32]:
    """Tokens of each row, int32[rows]."""
    parts = [
        pc.list_value_length(batch["input_ids"]).to_numpy()
        for batch in dataset.with_format("arrow").iter(batch_size=10_000)
    ]
    return np.asarray(np.concatenate([np.empty(0, np.int32), *parts]), dtype=np.int32)


def digest(dataset: Dataset) -> str:
    """A digest of the rows: all lengths, and all tokens of 1,000 rows spread evenly.

    Axolotl's own fingerprints change when the same data are prepared anew; reading every token of a large set would
    take minutes at each start.
    """
    count = len(dataset)
    picked = dataset.select(np.unique(np.linspace(0, count - 1, min(count, 1000)).astype(np.int64)))
    digest = hashlib.blake2b(lengths(dataset).tobytes(), digest_size=16)
    table: pa.Table = picked.with_format("arrow")[:]
    for name in ("input_ids", "labels"):
        digest.update(np.asarray(table[name].combine_chunks().flatten(), dtype=np.int64).tobytes())
    return digest.hexdigest()


def concatenate(parts: Sequence[Dataset]) -> Dataset:
    """The rows of all parts, in order."""
    # Axolotl's strategies do not agree on the width of their integers.
    return concatenate_datasets([part.cast(parts[0].features) for part in parts])


def fetch(dataset: Any, indices: Sequence[int] | NDArray[np.int64]) -> list[dict[str, Any]]:
    """These rows, read together: one by one takes four times as long."""
    found = dataset[np.asarray(indices, dtype=np.int64).tolist()]
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
