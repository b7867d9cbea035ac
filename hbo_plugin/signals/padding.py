"""Padding: tokenised rows as padded batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

IGNORED = -100
"""Label of a token that is no part of the answer."""


def answer_tokens(row: Mapping[str, Any]) -> int:
    """Tokens of a row that are predicted and learned."""
    return int(np.count_nonzero(np.asarray(row["labels"][1:]) != IGNORED))


def fetch(dataset: Any, indices: ArrayLike) -> list[dict[str, Any]]:
    """These rows, read together: one by one takes four times as long."""
    found = dataset[np.asarray(indices, dtype=np.int64).tolist()]
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def pad(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Collate tokenised rows on the right: `input_ids`, `attention_mask` and `labels`, each int64[rows, longest]."""

    def column(name: str, fill: int) -> torch.Tensor:
        values = [torch.as_tensor(row[name], dtype=torch.int64) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=fill)

    # Any id serves as padding: it is masked, and its label is ignored.
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": column("input_ids", 0),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        "labels": column("labels", IGNORED),
    }


def by_length(lengths: NDArray[np.int32], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Cut rows into batches of similar length, of at most `tokens` padded tokens or of one row.

    Args:
        lengths: tokens of each row, int32[n].
        tokens: the bound.

    Yields:
        Indices into `lengths`, longest first, so that a batch that does not fit in memory fails at once.
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        count = max(1, tokens // max(1, int(lengths[order[first]])))
        yield order[first : first + count]
        first += count
