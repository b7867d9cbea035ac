"""What a run of Axolotl reads, made up: a model at random with a tokenizer, and tokenised rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIRST_WORD = 4
"""The tokens before it are special."""


def save_model(folder: Path, model: Any) -> None:
    """A model, and a tokenizer with as many tokens, with which nothing has to be tokenised."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = range(model.config.vocab_size)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in vocabulary}, unk_token="w3"))
    special = {"bos_token": "w0", "eos_token": "w1", "pad_token": "w2", "unk_token": "w3"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    model.save_pretrained(folder)


def save_rows(
    path: Path, lengths: NDArray[np.int64], words: range, rng: np.random.Generator, *, prompt: float = 0.0
) -> None:
    """Tokenised rows of some lengths, at random, as a Parquet file.

    Args:
        path: of the file.
        lengths: tokens of each row.
        words: the tokens to choose from.
        rng: for the tokens.
        prompt: share of a row's tokens that are not learned.
    """
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = rng.integers(words.start, words.stop, ends[-1])
    place = np.arange(len(ids)) - np.repeat(ends[:-1], lengths)
    labels = np.where(place < np.repeat((lengths * prompt).astype(np.int64), lengths), -100, ids)
    columns = {"input_ids": ids.astype(np.int32), "attention_mask": np.ones(len(ids), np.int8), "labels": labels}
    pq.write_table(pa.table({name: pa.ListArray.from_arrays(ends, values) for name, values in columns.items()}), path)
