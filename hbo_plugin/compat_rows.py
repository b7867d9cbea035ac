"""Private names of Axolotl that load and tokenise rows, each once; the others are in `compat`."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import DatasetDict

from hbo_plugin.compat import private, replaced
from hbo_plugin.numbers import RAW_ROW, KeepNumber, Unnumbered, failing_row

_SFT = "axolotl.utils.data.sft"
_RL = "axolotl.utils.data.rl"


def load_entry(tokenizer: Any, cfg: Any, split: str) -> Any:
    """The rows of the entries of `cfg`, prepared or from Axolotl's cache; `split` is `train` or `test`.

    They are tokenised, except under `rl`, whose trainers tokenise texts themselves.
    """
    if cfg.rl:
        return private(_RL, "_load_or_create_dataset_split")(cfg, tokenizer, split)
    train, evaluation, _ = private(_SFT, "_load_and_prepare_datasets")(tokenizer, cfg, split=split)
    return train if split == "train" else evaluation


@dataclass(frozen=True)
class RawRows:
    """Rows of the user's data, as Axolotl makes its own of them.

    Attributes:
        rows: with their numbers as `RAW_ROW`, unless Axolotl invents them.
        version: what tells these data from others of the same name, as the library that loads them knows it.
    """

    rows: Any
    version: str


def raw_rows(cfg: Any, split: str) -> list[RawRows]:
    """The rows of the entries of `cfg` as Axolotl loads and chooses them, one after another for each part that it loads."""
    names = private(_RL if cfg.rl else _SFT, "datasets_with_name_generator")
    with _loading(cfg, split, lambda **_: (None, None)) as parts:
        for entry in names(cfg.datasets if split == "train" else cfg.test_datasets):
            if cfg.rl:
                private(_RL, "load_dataset_with_config")(entry, cfg.hf_use_auth_token)
            else:
                load = private(_SFT, "_load_and_process_single_dataset")
                load(dataset_config=entry, cfg=cfg, tokenizer=None, split=split, seed=cfg.seed)
    return parts


@contextmanager
def watching_rows(cfg: Any, split: str, check_tokenised: Callable[[Any], None]) -> Iterator[list[RawRows]]:
    """While open, Axolotl's tokenising names the row that it fails on, and its rows keep the number of their raw row.

    Axolotl removes every column of the user's data when it tokenises, and one raw row may become none or several.

    Args:
        cfg: Axolotl's configuration.
        split: of the entries that are loaded, `train` or `test`.
        check_tokenised: called with rows that the user tokenised, before Axolotl looks at them.

    Yields:
        What was tokenised while open.

    Raises:
        RowError: a row cannot be tokenised.
    """
    # In this order: Axolotl's modules import each other.
    wrap = private(_SFT, "get_dataset_wrapper")
    prompts = private("axolotl.datasets", "TokenizedPromptDataset")
    process = prompts.process
    loader = _module(cfg)
    deduplicate = private(loader.__name__, "deduplicate_and_log_datasets")

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
        _loading(cfg, split, wrap_watched) as parts,
        replaced(prompts, "process", process_watched),
        replaced(loader, "deduplicate_and_log_datasets", lambda dataset: deduplicate(Unnumbered(dataset))),
    ):
        yield parts


def _module(cfg: Any) -> Any:
    """The module that loads the rows of a run."""
    return importlib.import_module(_RL if cfg.rl else _SFT)


@contextmanager
def _loading(cfg: Any, split: str, tokenise: Callable[..., Any]) -> Iterator[list[RawRows]]:
    """While open, Axolotl numbers the rows that it loads, before it shuffles or takes a part of them; then it calls `tokenise`.

    Under `rl` it takes all of them, and calls nothing.
    """
    module, load = _module(cfg), private(_SFT, "load_dataset_with_config")
    parts: list[RawRows] = []
    version = ""

    def load_numbered(config: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal version
        dataset = load(config, *args, **kwargs)
        # As Axolotl chooses among several. Under `rl` it takes `train` for held-out rows too, which is right of a file alone.
        for name in (config.split, split, *(["train"] if cfg.rl else [])):
            if isinstance(dataset, DatasetDict) and name in dataset:
                dataset = dataset[name]
        if isinstance(dataset, DatasetDict):
            return dataset  # without either, which Axolotl refuses
        version = str(dataset._fingerprint)  # noqa: SLF001 as Axolotl does
        dataset = dataset.add_column(RAW_ROW, np.arange(len(dataset)))
        if cfg.rl:
            parts.append(RawRows(dataset, version))
        return dataset

    def tokenise_seen(**kwargs: Any) -> Any:
        parts.append(RawRows(kwargs["dataset"], version))
        return tokenise(**kwargs)

    with replaced(module, "load_dataset_with_config", load_numbered), ExitStack() as stack:
        if not cfg.rl:
            stack.enter_context(replaced(module, "get_dataset_wrapper", tokenise_seen))
        yield parts
