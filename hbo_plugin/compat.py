"""Every private name of Axolotl that the plugin relies on, each once, with a clear error where it is missing."""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from hbo_plugin.numbers import RAW_ROW, KeepNumber, Unnumbered, failing_row

SUPPORTED = ">=0.19,<0.22"
_CONFIG = "axolotl.cli.config"
_SFT = "axolotl.utils.data.sft"

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
        return attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        msg = (
            f"`{module}.{name}` was not found: hbo works with axolotl {SUPPORTED}, and {axolotl_version()} is installed; "
            f"install a supported version."
        )
        # Not an ImportError, which Axolotl 0.19 swallows.
        raise RuntimeError(msg) from error


def _sft() -> Any:
    return importlib.import_module(_SFT)


def load_config(path: Path, **options: Any) -> Any:
    """A configuration as Axolotl's commands load it, with options of theirs; the `debug.log` of a run stays as it is."""
    load, _ = (_axolotl(_CONFIG, name) for name in ("load_cfg", "prepare_debug_log"))
    with _replaced(importlib.import_module(_CONFIG), "prepare_debug_log", lambda _: None):
        return load(str(path), **options)


def load_tokenizer(cfg: Any) -> Any:
    """The tokenizer of a run, as Axolotl loads it."""
    return _axolotl("axolotl.loaders", "load_tokenizer")(cfg)


@dataclass(frozen=True)
class Loading:
    """How Axolotl loads a model.

    Attributes:
        config: the model's own, with the overrides of the run.
        quantization: what it is quantized by; None where it is not.
        resize: gives a loaded model an embedding for each token of the tokenizer.
    """

    config: Any
    quantization: Any
    resize: Callable[[Any], None]


def loading(cfg: Any, tokenizer: Any) -> Loading:
    """How Axolotl loads the model of a run, of which nothing but its configuration is read here."""
    start, quantize, resize = (
        _axolotl("axolotl.loaders", name)
        for name in ("ModelLoader", "ModelLoader._set_quantization_config", "ModelLoader._resize_token_embeddings")
    )
    loader = start(cfg, tokenizer)
    quantize(loader)

    def resize_loaded(model: Any) -> None:
        loader.model = model
        resize(loader)

    return Loading(loader.model_config, loader.model_kwargs.get("quantization_config"), resize_loaded)


def start_processes() -> None:
    """Let the processes of a launcher talk to each other, as Axolotl does before it loads the model."""
    _axolotl("axolotl.utils.distributed", "init_distributed_state")()


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


@dataclass(frozen=True)
class RawRows:
    """Rows of the user's data, as Axolotl tokenises them.

    Attributes:
        rows: with their numbers as `RAW_ROW`, unless Axolotl invents them.
        version: what tells these data from others of the same name, as the library that loads them knows it.
    """

    rows: Any
    version: str


def raw_rows(cfg: Any, split: str) -> list[RawRows]:
    """The rows of the entries of `cfg` as Axolotl loads and chooses them, one after another for each part that it loads."""
    with _loading(split, lambda **_: (None, None)) as parts:
        load, name = (
            _axolotl(_SFT, name) for name in ("_load_and_process_single_dataset", "datasets_with_name_generator")
        )
        for entry in name(cfg.datasets if split == "train" else cfg.test_datasets):
            load(dataset_config=entry, cfg=cfg, tokenizer=None, split=split, seed=cfg.seed)
    return parts


@contextmanager
def watching_rows(split: str, check_tokenised: Callable[[Any], None]) -> Iterator[list[RawRows]]:
    """While open, Axolotl's tokenising names the row that it fails on, and its rows keep the number of their raw row.

    Axolotl removes every column of the user's data when it tokenises, and one raw row may become none or several.

    Args:
        split: of the entries that are loaded, `train` or `test`.
        check_tokenised: called with rows that the user tokenised, before Axolotl looks at them.

    Yields:
        What was tokenised while open.

    Raises:
        RowError: a row cannot be tokenised.
    """
    # In this order: Axolotl's modules import each other.
    wrap, deduplicate = (_axolotl(_SFT, name) for name in ("get_dataset_wrapper", "deduplicate_and_log_datasets"))
    prompts = _axolotl("axolotl.datasets", "TokenizedPromptDataset")
    process = prompts.process

    def process_watched(self: Any, dataset: Any) -> Any:
        self.prompt_tokenizer = KeepNumber(self.prompt_tokenizer)
        try:
            return process(self, dataset)
        except Exception as error:
            if (failing := failing_row(self.prompt_tokenizer, dataset)) is None:
                raise
            raise failing from error

    def wrap_watched(**kwargs: Any) -> Any:
        columns = kwargs["dataset"].column_names
        if "input_ids" in columns and ("labels" in columns or not kwargs["dataset_config"].type):
            check_tokenised(kwargs["dataset"])
        return wrap(**kwargs)

    with (
        _loading(split, wrap_watched) as parts,
        _replaced(prompts, "process", process_watched),
        _replaced(_sft(), "deduplicate_and_log_datasets", lambda dataset: deduplicate(Unnumbered(dataset))),
    ):
        yield parts


@contextmanager
def _loading(split: str, tokenise: Callable[..., Any]) -> Iterator[list[RawRows]]:
    """While open, Axolotl numbers the rows that it loads, before it shuffles or takes a part of them; then it calls `tokenise`."""
    load = _axolotl(_SFT, "load_dataset_with_config")
    parts: list[RawRows] = []
    version = ""

    def load_numbered(config: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal version
        dataset = load(config, *args, **kwargs)
        for name in (config.split, split):  # as Axolotl chooses among several
            if isinstance(dataset, DatasetDict) and name in dataset:
                dataset = dataset[name]
        if isinstance(dataset, DatasetDict):
            return dataset  # without either, which Axolotl refuses
        version = str(dataset._fingerprint)  # noqa: SLF001 as Axolotl does
        return dataset.add_column(RAW_ROW, np.arange(len(dataset)))

    def tokenise_seen(**kwargs: Any) -> Any:
        parts.append(RawRows(kwargs["dataset"], version))
        return tokenise(**kwargs)

    with (
        _replaced(_sft(), "load_dataset_with_config", load_numbered),
        _replaced(_sft(), "get_dataset_wrapper", tokenise_seen),
    ):
        yield parts


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
