"""Row kinds: what the rows of each kind of training hold, how long they are, and what of them the trainer is given."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from datasets import Dataset, Sequence, Value, concatenate_datasets
from numpy.typing import NDArray

from hbo_plugin.data import rows as tokenised
from hbo_plugin.kinds import Rows
from hbo_plugin.messages import listed
from hbo_plugin.numbers import RAW_ROW

_SCORES = 2
"""What a reward model predicts of a pair: a number for each answer."""
_BATCH = 1000


class RowKind(Protocol):
    """What is read of the rows that Axolotl has made."""

    def check(self, dataset: Dataset) -> None:
        """Raise a TokenError where these are no such rows."""
        ...

    def typed(self, dataset: Dataset) -> Dataset:
        """The rows as they are kept, with the same types in every dataset."""
        ...

    def counts(self, dataset: Dataset, tokenizer: Any) -> NDArray[np.int32]:
        """Tokens of each row, and how many of what the model predicts its loss looks at; int32[2, rows]."""
        ...

    def digest(self, dataset: Dataset) -> str:
        """Of all that is trained on, in order; Axolotl's own fingerprints change when the same data are prepared anew."""
        ...

    def read(self, files: Iterable[Path]) -> Dataset:
        """The rows in Arrow files that hold what `typed` made, one after the other, with the columns that are trained on."""
        ...


class _Tokens:
    """A sequence of tokens with labels."""

    def check(self, dataset: Dataset) -> None:
        """See `RowKind`; a strategy of Axolotl makes all that is needed."""

    def typed(self, dataset: Dataset) -> Dataset:
        """See `RowKind`."""
        return tokenised.typed(dataset)

    def counts(self, dataset: Dataset, tokenizer: Any) -> NDArray[np.int32]:
        """See `RowKind`."""
        return np.stack([tokenised.lengths(dataset), tokenised.trained(dataset)])

    def digest(self, dataset: Dataset) -> str:
        """See `RowKind`."""
        return tokenised.digest(dataset)

    def read(self, files: Iterable[Path]) -> Dataset:
        """See `RowKind`."""
        return tokenised.read(files)


class _Columns:
    """Rows of which some columns of one type are trained on, and nothing else is kept."""

    def __init__(self, columns: tuple[str, ...], feature: Any, told: str) -> None:
        self._columns, self._feature, self._told = columns, feature, told

    def check(self, dataset: Dataset) -> None:
        """See `RowKind`."""
        features = {name: dataset.features.get(name) for name in self._columns}
        wrong = [name for name, feature in features.items() if type(feature) is not type(self._feature)]
        if wrong:
            has = listed(name for name in dataset.column_names if name != RAW_ROW)
            msg = (
                f"its rows have {has}, where this kind of training takes {listed(self._columns)}, each {self._told}; use a "
                f"`type` that makes them"
            )
            raise tokenised.TokenError(msg)

    def typed(self, dataset: Dataset) -> Dataset:
        """See `RowKind`."""
        kept = [name for name in (*self._columns, RAW_ROW) if name in dataset.column_names]
        rows = dataset.select_columns(kept)
        features = rows.features.copy()
        features.update(dict.fromkeys(self._columns, self._feature))
        return rows.cast(features)

    def read(self, files: Iterable[Path]) -> Dataset:
        """See `RowKind`."""
        return tokenised.read(files, self._columns)


class _Texts(_Columns):
    """Two answers to a prompt as text, which the trainer tokenises."""

    def __init__(self) -> None:
        super().__init__(("prompt", "chosen", "rejected"), Value("string"), "a text")

    def check(self, dataset: Dataset) -> None:
        """See `RowKind`."""
        super().check(dataset)
        _refuse_images(dataset)

    def counts(self, dataset: Dataset, tokenizer: Any) -> NDArray[np.int32]:
        """See `RowKind`: the prompt is counted with each answer, and without special tokens, as `sequence_len` counts."""
        parts = [np.empty((2, 0), np.int32)]
        for batch in dataset.select_columns([*self._columns]).iter(batch_size=_BATCH):
            prompt, *answers = (
                np.array([*map(len, tokenizer(batch[name], add_special_tokens=False)["input_ids"])], np.int32)
                for name in self._columns
            )
            parts.append(np.stack([2 * prompt + sum(answers), sum(answers)]))
        return np.concatenate(parts, axis=1).astype(np.int32)

    def digest(self, dataset: Dataset) -> str:
        """See `RowKind`."""
        digest = hashlib.blake2b(digest_size=16)
        for batch in dataset.select_columns([*self._columns]).iter(batch_size=_BATCH):
            for texts in zip(*batch.values(), strict=True):
                for text in map(str.encode, texts):
                    digest.update(f"{len(text)} ".encode() + text)
        return digest.hexdigest()


class _Pairs(_Columns):
    """Two tokenised answers, each with its prompt."""

    def __init__(self) -> None:
        super().__init__(("chosen_ids", "rejected_ids"), Sequence(Value("int32")), "a list of tokens")

    def counts(self, dataset: Dataset, tokenizer: Any) -> NDArray[np.int32]:
        """See `RowKind`."""
        lengths = sum(tokenised.lengths(dataset, name) for name in self._columns)
        return np.stack([lengths, np.full_like(lengths, _SCORES)])

    def digest(self, dataset: Dataset) -> str:
        """See `RowKind`."""
        return tokenised.digest(dataset, self._columns)


class _Prompts:
    """A prompt, a text or the messages of a chat, and columns that rewards read."""

    def check(self, dataset: Dataset) -> None:
        """See `RowKind`."""
        if "prompt" not in dataset.column_names:
            has = listed(name for name in dataset.column_names if name != RAW_ROW)
            msg = f"its rows have {has}, where this kind of training takes a `prompt`; use a `type` that makes it"
            raise tokenised.TokenError(msg)
        _refuse_images(dataset)

    def typed(self, dataset: Dataset) -> Dataset:
        """See `RowKind`; what a column holds is for the rewards."""
        return dataset

    def counts(self, dataset: Dataset, tokenizer: Any) -> NDArray[np.int32]:
        """See `RowKind`: tokens are those of the prompt, and what the loss looks at is one group of answers."""
        lengths: list[int] = []
        for batch in dataset.select_columns(["prompt"]).iter(batch_size=_BATCH):
            texts = [
                prompt
                if isinstance(prompt, str)
                else tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
                for prompt in batch["prompt"]
            ]
            lengths += map(len, tokenizer(texts, add_special_tokens=False)["input_ids"])
        return np.stack([np.array(lengths, np.int32), np.ones(len(lengths), np.int32)])

    def digest(self, dataset: Dataset) -> str:
        """See `RowKind`."""
        digest = hashlib.blake2b(digest_size=16)
        kept = [name for name in dataset.column_names if name != RAW_ROW]
        for row in dataset.select_columns(kept):
            digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        return digest.hexdigest()

    def read(self, files: Iterable[Path]) -> Dataset:
        """See `RowKind`; a row of a dataset without a column that another has holds None there."""
        parts = [Dataset.from_file(str(file)) for file in files]
        types: dict[str, Any] = {}
        for name, feature in (each for part in parts for each in part.features.items()):
            if types.setdefault(name, feature) != feature:
                msg = (
                    f"the column `{name}` holds {types[name]} in one dataset and {feature} in another, which cannot stand beside "
                    f"each other; make them alike, or rename it in one of them."
                )
                raise ValueError(msg)
        rows = concatenate_datasets(parts)
        return rows.remove_columns([RAW_ROW]) if RAW_ROW in rows.column_names else rows


def _refuse_images(dataset: Dataset) -> None:
    """Raise a TokenError where rows have images, which would be left out in silence."""
    if images := [name for name in ("image", "images") if name in dataset.column_names]:
        msg = f"its rows have {listed(images)}, which hbo cannot batch; remove the column"
        raise tokenised.TokenError(msg)


ROW_KINDS: Mapping[Rows, RowKind] = {"tokens": _Tokens(), "texts": _Texts(), "pairs": _Pairs(), "prompts": _Prompts()}
