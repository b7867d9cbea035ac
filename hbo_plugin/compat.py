"""Private names of Axolotl, each once, with a clear error where it is missing; those that load rows are in `compat_rows`."""

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

SUPPORTED = ">=0.19,<0.22"
_CONFIG = "axolotl.cli.config"

PREPARING = (
    "added_tokens_overrides", "chat_template", "chat_template_jinja", "chat_template_kwargs", "context_parallel_size",
    "dataset_exact_deduplication", "dataset_shard_idx", "dataset_shard_num", "deepspeed", "default_system_message",
    "eot_tokens", "eval_sample_packing", "eval_sequence_len", "excess_length_strategy", "group_by_length",
    "is_mistral_derived_model", "is_qwen_derived_model", "kd_temperature", "min_sample_len", "model_config_type",
    "pose_max_context_len", "pose_num_chunks", "pose_split_on_token_ids", "sample_packing", "sequence_len",
    "process_reward_model", "reward_model", "rl", "special_tokens", "tokens", "train_on_inputs", "trust_remote_code",
    "use_pose",
)  # fmt: skip
"""Keys of a configuration that Axolotl's preparing of rows reads and that change them."""


def axolotl_version() -> str:
    """The version that is installed."""
    try:
        return version("axolotl")
    except PackageNotFoundError:
        return "no version at all"


def private(module: str, name: str) -> Any:
    """A name of Axolotl's, which may be private; a RuntimeError names the supported versions where it is missing."""
    try:
        return attrgetter(name)(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise _missing(module, name) from error


def _missing(owner: str, name: str) -> RuntimeError:
    """Not an ImportError, which Axolotl 0.19 swallows."""
    return RuntimeError(
        f"`{owner}.{name}` was not found: hbo works with axolotl {SUPPORTED}, and {axolotl_version()} is installed; "
        f"install a supported version."
    )


def load_config(path: Path, **options: Any) -> Any:
    """A configuration as Axolotl's commands load it, with options of theirs; the `debug.log` of a run stays as it is."""
    load, _ = (private(_CONFIG, name) for name in ("load_cfg", "prepare_debug_log"))
    with replaced(importlib.import_module(_CONFIG), "prepare_debug_log", lambda _: None):
        return load(str(path), **options)


def load_tokenizer(cfg: Any) -> Any:
    """The tokenizer of a run, as Axolotl loads it."""
    return private("axolotl.loaders", "load_tokenizer")(cfg)


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
        private("axolotl.loaders", name)
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
    private("axolotl.utils.distributed", "init_distributed_state")()


def with_prepare_lock(cfg: Any, load: Callable[[], Any]) -> Any:
    """Run `load` on one rank at a time: the first prepares the data, the others find them in the cache."""
    folder = Path(cfg.dataset_prepared_path or default_prepared_path())
    if folder.is_dir() and not os.access(folder, os.W_OK):
        return load()  # nothing can be written, a lock neither; it may hold everything
    lock = private("axolotl.utils.data.lock", "FileLockLoader")(cfg)
    try:
        return lock.load(load)
    finally:
        lock.cleanup()


def fits_in_bins(lengths: Any, capacity: int, bins: int) -> bool:
    """Whether Axolotl's packing gets rows of these lengths, int32[rows], into so many bins."""
    check = private("axolotl.utils.samplers.multipack", "ffd_check")
    return bool(check(np.asarray(lengths, dtype=np.int64), capacity, bins))


def dataset_meta(**fields: Any) -> Any:
    """What the `load_datasets` hook returns."""
    return private("axolotl.common.datasets", "TrainDatasetMeta")(**fields)


def default_prepared_path() -> str:
    """Where Axolotl prepares data when `dataset_prepared_path` is not set."""
    return str(private("axolotl.common.const", "DEFAULT_DATASET_PREPARED_PATH"))


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Let a name of a module or a class stand for something else while open."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def watched(trainer: Any, name: str, look: Callable[..., None]) -> Iterator[None]:
    """Let `look` see what a method of TRL's trainers returns, and then what it was given, while open.

    Raises:
        RuntimeError: there is no such method; it names the supported versions.
    """
    method = getattr(trainer, name, None)
    if method is None:
        raise _missing(type(trainer).__name__, name)

    def looked(*args: Any, **kwargs: Any) -> Any:
        found = method(*args, **kwargs)
        look(found, *args, **kwargs)
        return found

    with replaced(trainer, name, looked):
        yield
