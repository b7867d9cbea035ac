"""Entries: what one entry of `datasets:` or `test_datasets:` is called, holds out, and loads as, with its cache."""

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from datasets import Dataset

from hbo_plugin import compat
from hbo_plugin.args import MODEL_SCORES
from hbo_plugin.data import difficulty

_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".arrow", ".csv", ".txt")


def entry_names(entries: Iterable[Any], given: list[str] | None = None) -> list[str]:
    """One name for each entry of `datasets:`: the given ones, or made from the path, all different."""
    paths = [str(entry["path"]) for entry in entries]
    if given:
        if len(given) != len(paths):
            msg = f"`hbo.names` has {len(given)} names and `datasets:` has {len(paths)} entries; give one name to each entry."
            raise ValueError(msg)
        return list(given)
    names: list[str] = []
    for path in paths:
        name = Path(path).name
        while name.endswith(_SUFFIXES):
            name = Path(name).stem
        same = sum(
            other == name or (other.startswith(f"{name}-") and other[len(name) + 1 :].isdigit()) for other in names
        )
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def held_out_counts(val_set_size: float, own: Mapping[str, float], rows: Mapping[str, int]) -> list[int]:
    """Rows that each dataset holds out, always leaving one to train on.

    Args:
        val_set_size: Axolotl's key: a share of every dataset, or a number of rows in all.
        own: by name, what replaces it for single datasets: a share below 1, or a number of rows.
        rows: of each dataset.
    """
    share = val_set_size if val_set_size < 1 else val_set_size / sum(rows.values())
    counts = []
    for name, count in rows.items():
        wanted = own.get(name, share * count)
        if 0 < wanted < 1 and name in own:
            wanted *= count
        counts.append(max(0, min(count - 1, round(wanted))))
    return counts


def load_entry(cfg: Any, tokenizer: Any, entry: Any, root: Path, *, split: str, column: str | None = None) -> Dataset:
    """One entry through Axolotl's loader, alone, so that its cache does not depend on the rest of the mixture.

    Args:
        cfg: Axolotl's configuration.
        tokenizer: of the run.
        entry: of `datasets:` or `test_datasets:`.
        root: folder of the prepared rows.
        split: `train` or `test`.
        column: of the raw rows, kept as `difficulty.COLUMN`.
    """
    alone = copy.deepcopy(cfg)
    alone["datasets"] = [entry] if split == "train" else None
    alone["test_datasets"] = [entry] if split == "test" else None
    alone["val_set_size"] = 0.0
    # The order of the prepared rows must not depend on the run's seed, or its scores would be made anew for each; and
    # without any shuffling, Axolotl hands its saving workers an object that they cannot unpickle.
    alone["seed"] = 0
    alone["shuffle_merged_datasets"] = True
    # Axolotl's cache does not know every key of an entry, so two entries could share one: a folder for each.
    stamp = json.dumps([entry, column, split], sort_keys=True, default=str)
    alone["dataset_prepared_path"] = str(root / hashlib.blake2b(stamp.encode(), digest_size=8).hexdigest())
    with compat.keeping_column(column, difficulty.COLUMN) if column else nullcontext():
        rows: Dataset = compat.load_entry(tokenizer, alone, split)
    if column and difficulty.COLUMN not in rows.column_names:  # tokenised by the user: Axolotl keeps its columns
        if column not in rows.column_names:
            raise compat.missing_column(column, rows.column_names)
        rows = rows.rename_column(column, difficulty.COLUMN)
    return rows


def difficulty_column(kind: str) -> str | None:
    """The column of the raw rows that a `difficulty` names; None for the kinds that hbo computes."""
    return None if kind == "length" or kind in MODEL_SCORES else kind
