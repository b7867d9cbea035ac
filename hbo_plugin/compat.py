"""Every private name of Axolotl that the plugin relies on, each once, with a clear error where it is missing."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

SUPPORTED = ">=0.19,<0.22"


def _axolotl(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        try:
            found = version("axolotl")
        except PackageNotFoundError:
            found = "no version at all"
        msg = (
            f"`{module}.{name}` was not found: hbo works with axolotl {SUPPORTED}, and {found} is installed; "
            f"install a supported version."
        )
        # Not an ImportError, which Axolotl 0.19 swallows.
        raise RuntimeError(msg) from error


def load_tokenizer(cfg: Any) -> Any:
    """The tokenizer of a run, as Axolotl loads it."""
    return _axolotl("axolotl.loaders", "load_tokenizer")(cfg)


def load_entry(tokenizer: Any, cfg: Any, split: str) -> Any:
    """The tokenised rows of the entries of `cfg`, prepared or from Axolotl's cache; `split` is `train` or `test`."""
    load = _axolotl("axolotl.utils.data.sft", "_load_and_prepare_datasets")
    train, evaluation, _ = load(tokenizer, cfg, split=split)
    return train if split == "train" else evaluation


def with_prepare_lock(cfg: Any, load: Callable[[], Any]) -> Any:
    """Run `load` on one rank at a time: the first prepares the data, the others find them in the cache."""
    lock = _axolotl("axolotl.utils.data.lock", "FileLockLoader")(cfg)
    try:
        return lock.load(load)
    finally:
        lock.cleanup()


def dataset_meta(**fields: Any) -> Any:
    """What the `load_datasets` hook returns."""
    return _axolotl("axolotl.common.datasets", "TrainDatasetMeta")(**fields)


def default_prepared_path() -> str:
    """Where Axolotl prepares data when `dataset_prepared_path` is not set."""
    return str(_axolotl("axolotl.common.const", "DEFAULT_DATASET_PREPARED_PATH"))


class _KeepColumn:
    """A tokenising strategy that hands one column of its input on to its output."""

    def __init__(self, strategy: Any, source: str, target: str) -> None:
        self._strategy = strategy
        self._source = source
        self._target = target

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nothing is there yet while unpickling
            raise AttributeError(name)
        return getattr(self._strategy, name)

    def tokenize_prompt(self, prompt: Any) -> dict[str, Any]:
        if not self._strategy.supports_batched:
            return {**self._strategy.tokenize_prompt(prompt), self._target: prompt[self._source]}
        # One row at a time, because a batched strategy may make several rows out of one.
        result: dict[str, Any] = {self._target: []}
        for index, value in enumerate(prompt[self._source]):
            part = self._strategy.tokenize_prompt({key: [column[index]] for key, column in prompt.items()})
            for key, column in part.items():
                result.setdefault(key, []).extend(column)
            result[self._target] += [value] * len(part["input_ids"])
        return result


@contextmanager
def keeping_column(source: str, target: str) -> Iterator[None]:
    """While open, Axolotl's tokenising keeps the column `source` of the raw rows, under the name `target`.

    Axolotl removes every column of the user's data when it tokenises, and one raw row may become none or several, so
    that a column cannot be put back afterwards.
    """
    tokenised = _axolotl("axolotl.datasets", "TokenizedPromptDataset")
    process = _axolotl("axolotl.datasets", "TokenizedPromptDataset").process

    def process_keeping(self: Any, dataset: Any) -> Any:
        if source not in dataset.column_names:
            raise missing_column(source, dataset.column_names)
        self.prompt_tokenizer = _KeepColumn(self.prompt_tokenizer, source, target)
        return process(self, dataset)

    tokenised.process = process_keeping
    try:
        yield
    finally:
        tokenised.process = process


def missing_column(column: str, present: list[str]) -> ValueError:
    """The error for a `difficulty` that is neither a known kind nor a column of the data."""
    return ValueError(
        f"`hbo.difficulty: {column}` is no column of this dataset, which has {', '.join(f'`{name}`' for name in present)}; "
        f"name one of them, or write length, loss, perplexity or ifd."
    )
