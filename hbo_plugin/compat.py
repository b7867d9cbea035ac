"""Every private name of Axolotl that the plugin relies on, each once, with a clear error where it is missing."""

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

SUPPORTED = ">=0.19,<0.22"
_SFT = "axolotl.utils.data.sft"

RAW_ROW = "hbo_raw_row"
"""The column with the number of the raw row that a row was made of."""

PREPARING = (
    "added_tokens_overrides", "chat_template", "chat_template_jinja", "chat_template_kwargs", "context_parallel_size",
    "dataset_exact_deduplication", "dataset_shard_idx", "dataset_shard_num", "deepspeed", "default_system_message",
    "eot_tokens", "eval_sample_packing", "eval_sequence_len", "excess_length_strategy", "group_by_length",
    "is_mistral_derived_model", "is_qwen_derived_model", "kd_temperature", "min_sample_len", "model_config_type",
    "pose_max_context_len", "pose_num_chunks", "pose_split_on_token_ids", "sample_packing", "sequence_len",
    "special_tokens", "tokens", "train_on_inputs", "trust_remote_code", "use_pose",
)  # fmt: skip
"""Keys of a configuration that Axolotl's preparing of rows reads and that change them."""


def axolotl_version() -> str:
    """The version that is installed."""
    try:
        return version("axolotl")
    except PackageNotFoundError:
        return "no version at all"


def _axolotl(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        msg = (
            f"`{module}.{name}` was not found: hbo works with axolotl {SUPPORTED}, and {axolotl_version()} is installed; "
            f"install a supported version."
        )
        # Not an ImportError, which Axolotl 0.19 swallows.
        raise RuntimeError(msg) from error


def load_tokenizer(cfg: Any) -> Any:
    """The tokenizer of a run, as Axolotl loads it."""
    return _axolotl("axolotl.loaders", "load_tokenizer")(cfg)


def load_entry(tokenizer: Any, cfg: Any, split: str) -> Any:
    """The tokenised rows of the entries of `cfg`, prepared or from Axolotl's cache; `split` is `train` or `test`."""
    load = _axolotl(_SFT, "_load_and_prepare_datasets")
    train, evaluation, _ = load(tokenizer, cfg, split=split)
    return train if split == "train" else evaluation


def with_prepare_lock(cfg: Any, load: Callable[[], Any]) -> Any:
    """Run `load` on one rank at a time: the first prepares the data, the others find them in the cache."""
    folder = Path(cfg.dataset_prepared_path or default_prepared_path())
    if folder.is_dir() and not os.access(folder, os.W_OK):
        return load()  # nothing can be written, a lock neither; it may hold everything
    lock = _axolotl("axolotl.utils.data.lock", "FileLockLoader")(cfg)
    try:
        return lock.load(load)
    finally:
        lock.cleanup()


def fits_in_bins(lengths: Any, capacity: int, bins: int) -> bool:
    """Whether Axolotl's packing gets rows of these lengths, int32[rows], into so many bins."""
    check = _axolotl("axolotl.utils.samplers.multipack", "ffd_check")
    return bool(check(np.asarray(lengths, dtype=np.int64), capacity, bins))


def dataset_meta(**fields: Any) -> Any:
    """What the `load_datasets` hook returns."""
    return _axolotl("axolotl.common.datasets", "TrainDatasetMeta")(**fields)


def default_prepared_path() -> str:
    """Where Axolotl prepares data when `dataset_prepared_path` is not set."""
    return str(_axolotl("axolotl.common.const", "DEFAULT_DATASET_PREPARED_PATH"))


class RowError(Exception):
    """A row of the user's data that cannot be used; the message says which and why."""


class ColumnError(Exception):
    """A column that the user's data do not have; `args` are those that they have."""


class _Keep:
    """A tokenising strategy that hands columns of its input on to its output."""

    def __init__(self, strategy: Any, kept: Mapping[str, str]) -> None:
        """`kept` has the names of the columns in the output, by those in the input."""
        self._strategy = strategy
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nothing is there yet while unpickling
            raise AttributeError(name)
        return getattr(self._strategy, name)

    def tokenize_prompt(self, prompt: Any) -> Any:
        values = {target: prompt[source] for source, target in self._kept.items()}
        prompt = {key: value for key, value in prompt.items() if key != RAW_ROW}
        if not self._strategy.supports_batched:
            made = self._strategy.tokenize_prompt(prompt)
            return {**made, **values} if made else made
        # One row at a time, because a batched strategy may make several rows out of one, or none.
        result: dict[str, Any] = {target: [] for target in values}
        for index in range(len(values[RAW_ROW])):
            made = self._strategy.tokenize_prompt({key: [column[index]] for key, column in prompt.items()})
            for key, column in made.items():
                result.setdefault(key, []).extend(column)
            for target, column in values.items():
                result[target] += [column[index]] * len(made.get("input_ids", ()))
        return result


class _Unnumbered:
    """Rows that are alike where they differ in their numbers alone."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        numbers = {RAW_ROW}.intersection(self._dataset.column_names)
        return iter(self._dataset.remove_columns([*numbers]))


@contextmanager
def watching_rows(
    split: str, column: str | None, target: str, check_tokenised: Callable[[Any], None]
) -> Iterator[list[int]]:
    """While open, Axolotl's tokenising names the row that it fails on, and keeps a column and the number of each raw row.

    Axolotl removes every column of the user's data when it tokenises, and one raw row may become none or several, so
    that a column cannot be put back afterwards.

    Args:
        split: of the entries that are loaded, `train` or `test`.
        column: of the raw rows, or None.
        target: its name in the tokenised rows.
        check_tokenised: called with rows that the user tokenised, before Axolotl looks at them.

    Yields:
        How many raw rows each set had that was tokenised while open.

    Raises:
        RowError: a row cannot be tokenised.
        ColumnError: the rows have no such column.
    """
    # In this order: Axolotl's modules import each other.
    wrap, deduplicate = (_axolotl(_SFT, name) for name in ("get_dataset_wrapper", "deduplicate_and_log_datasets"))
    prompts, loader = _axolotl("axolotl.datasets", "TokenizedPromptDataset"), importlib.import_module(_SFT)
    process = prompts.process
    counts: list[int] = []

    def process_watched(self: Any, dataset: Any) -> Any:
        kept = {column: target} if column else {}
        self.prompt_tokenizer = _Keep(self.prompt_tokenizer, {**kept, RAW_ROW: RAW_ROW})
        try:
            return process(self, dataset)
        except Exception as error:
            if (failing := _failing_row(self.prompt_tokenizer, dataset)) is None:
                raise
            raise failing from error

    def wrap_watched(*args: Any, **kwargs: Any) -> Any:
        dataset = kwargs["dataset"]
        counts.append(len(dataset))
        if column and column not in dataset.column_names:
            raise ColumnError(*(name for name in dataset.column_names if name != RAW_ROW))
        if "input_ids" in dataset.column_names and (
            "labels" in dataset.column_names or not kwargs["dataset_config"].type
        ):
            check_tokenised(dataset)
        return wrap(*args, **kwargs)

    with (
        _replaced(prompts, "process", process_watched),
        _replaced(loader, "get_dataset_wrapper", wrap_watched),
        _replaced(loader, "deduplicate_and_log_datasets", lambda dataset: deduplicate(_Unnumbered(dataset))),
        _numbering_rows(split),
    ):
        yield counts


@contextmanager
def _numbering_rows(split: str) -> Iterator[None]:
    """While open, Axolotl numbers the rows that it loads as `RAW_ROW`, before it shuffles or takes a part of them."""
    load = _axolotl(_SFT, "load_dataset_with_config")

    def load_numbered(config: Any, *args: Any, **kwargs: Any) -> Any:
        dataset = load(config, *args, **kwargs)
        for name in (config.split, split):  # as Axolotl chooses among several
            if isinstance(dataset, DatasetDict) and name in dataset:
                dataset = dataset[name]
        if isinstance(dataset, DatasetDict):
            return dataset  # without either, which Axolotl refuses
        return dataset.add_column(RAW_ROW, np.arange(len(dataset)))

    with _replaced(importlib.import_module(_SFT), "load_dataset_with_config", load_numbered):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _failing_row(strategy: Any, dataset: Any) -> RowError | None:
    """The first row that a strategy fails on, found by going through them one at a time."""
    for row in dataset:
        prompt = {key: [value] for key, value in row.items()} if strategy.supports_batched else row
        try:
            strategy.tokenize_prompt(prompt)
        except Exception as error:  # noqa: BLE001 whatever it is, the user must know the row
            empty = " and ".join(f"`{key}`" for key, value in row.items() if value in (None, [], {}, ""))
            why = f", whose {empty} is empty," if empty else ""
            reason = f"{type(error).__name__}: {error}"
            return RowError(f"row {row[RAW_ROW] + 1}{why} cannot be tokenised ({reason}); correct or remove it")
    return None
