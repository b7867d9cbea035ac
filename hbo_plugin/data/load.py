"""Data: the entries of `datasets:` as one training set laid out in cells, through Axolotl's own loader."""

import copy
import hashlib
import json
import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from hbo_plugin import compat
from hbo_plugin.args import MODEL_SCORES, HBOConfig
from hbo_plugin.cells import Cells, cut_levels
from hbo_plugin.data import difficulty

_COLUMNS = ["input_ids", "attention_mask", "labels"]
_PACKED_COLUMN = "position_ids"  # by which the model tells packed rows apart
_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".arrow", ".csv", ".txt")


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        train: the training set, cell after cell.
        cells: its layout.
        held_out: rows kept from training or named under `test_datasets:`, dataset after dataset; None without any.
        held_out_rows: the rows of `held_out` of each dataset.
        notes: what a user should know about the cutting, a sentence each.
    """

    train: Dataset
    cells: Cells
    held_out: Dataset | None
    held_out_rows: dict[str, range]
    notes: list[str] = field(default_factory=list)

    def steps(self, cfg: Any) -> int:
        """Optimizer steps of the run; an epoch is as many rows as the training set has, or tokens when they are packed."""
        if cfg.sample_packing:
            epoch = int(self.cells.lengths.sum()) / (cfg.batch_size * cfg.sequence_len)
        else:
            epoch = len(self.train) / cfg.batch_size
        steps: int = math.ceil(epoch * cfg.num_epochs)
        return min(steps, int(cfg.max_steps or steps))


def load(cfg: Any, config: HBOConfig) -> RunData:
    """Load, score and lay out every dataset of a run; what was prepared before comes from the cache."""
    tokenizer = compat.load_tokenizer(cfg)
    names = dataset_names(cfg.datasets, config.names)
    config.check_names(names)
    root = Path(cfg.dataset_prepared_path or compat.default_prepared_path()) / "hbo"
    kind = config.difficulty if config.levels > 1 else "length"  # a single level needs no order
    scorer = difficulty.Scorer(kind, cfg, tokenizer, root / "scores")

    def entries() -> list[tuple[Dataset, NDArray[np.float64]]]:
        parts = []
        for name, entry in zip(names, cfg.datasets, strict=True):
            rows = _load_entry(cfg, tokenizer, entry, "train", root, kind)
            parts.append((_columns(rows, packed=bool(cfg.sample_packing)), scorer.score(rows, name)))
        return parts

    parts = compat.with_prepare_lock(cfg, entries)
    counts = {name: len(rows) for name, (rows, _) in zip(names, parts, strict=True)}
    held = _held_out_counts(cfg.val_set_size or 0, config.val_set_size or {}, counts)
    trained, tested, sizes, fingerprints, notes = [], {}, [], [], []
    for index, (name, (rows, scores), count) in enumerate(zip(names, parts, held, strict=True)):
        kept, out = _split(len(rows), count, [cfg.seed or 0, index])
        if len(kept) < config.levels:
            msg = (
                f"dataset `{name}` has {len(kept)} rows to train on, fewer than `hbo.levels: {config.levels}`: "
                f"lower `hbo.levels`, add rows, or remove the dataset."
            )
            raise ValueError(msg)
        order, levels = cut_levels(scores[kept], config.levels)
        notes += _notes(name, scores[kept][order], levels)
        trained.append(rows.select(kept[order]))
        sizes.append(levels)
        stamp = difficulty.digest(rows).encode() + kept[order].tobytes() + levels.tobytes()
        fingerprints.append(hashlib.blake2b(stamp, digest_size=16).hexdigest())
        if count:
            tested[name] = _columns(rows.select(out), packed=bool(cfg.eval_sample_packing))
    if cfg.test_datasets:
        tested = _test_sets(cfg, tokenizer, root)
    train = _concatenate(trained)
    cells = Cells(tuple(names), np.array(sizes), difficulty.lengths(train), tuple(fingerprints))
    ends = np.cumsum([0, *map(len, tested.values())]).tolist()
    ranges = {name: range(first, last) for name, first, last in zip(tested, ends, ends[1:], strict=False)}
    held_out = _concatenate(list(tested.values())) if tested else None
    if held_out is not None and cfg.eval_sample_packing:
        _check_packed_evaluation(cfg, int(difficulty.lengths(held_out).sum()))
    if cfg.dataset_exact_deduplication and len(names) > 1:
        notes.append("duplicate rows were removed inside each dataset; a row that stands in two datasets stays in both")
    return RunData(train, cells, held_out, ranges, notes)


def dataset_names(entries: Iterable[Any], given: list[str] | None) -> list[str]:
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


def _load_entry(cfg: Any, tokenizer: Any, entry: Any, split: str, root: Path, kind: str) -> Dataset:
    """One entry through Axolotl's loader, alone, so that its cache does not depend on the rest of the mixture."""
    column = None if kind == "length" or kind in MODEL_SCORES or split == "test" else kind
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


def _test_sets(cfg: Any, tokenizer: Any, root: Path) -> dict[str, Dataset]:
    names = dataset_names(cfg.test_datasets, None)

    def entries() -> list[Dataset]:
        return [_load_entry(cfg, tokenizer, entry, "test", root, "length") for entry in cfg.test_datasets]

    parts = compat.with_prepare_lock(cfg, entries)
    packed = bool(cfg.eval_sample_packing)
    return {name: _columns(rows, packed=packed) for name, rows in zip(names, parts, strict=True)}


def _columns(rows: Dataset, *, packed: bool) -> Dataset:
    """The columns that a model is fed with; Axolotl leaves out the mask for models that it does not suit."""
    wanted = [*_COLUMNS, _PACKED_COLUMN] if packed else _COLUMNS
    return rows.select_columns([name for name in wanted if name in rows.column_names])


def _held_out_counts(val_set_size: float, own: dict[str, float], rows: dict[str, int]) -> list[int]:
    """Rows that each dataset holds out: a share of its own or its share of an absolute number, if not `own` says."""
    share = val_set_size if val_set_size < 1 else val_set_size / sum(rows.values())
    counts = []
    for name, count in rows.items():
        wanted = own.get(name, share * count)
        counts.append(
            min(count - 1, round(wanted * count if 0 < wanted < 1 and name in own else wanted)) if count else 0
        )
    return counts


def _check_packed_evaluation(cfg: Any, tokens: int) -> None:
    """Axolotl drops a packed batch that is not full, and would evaluate on none."""
    batch = (cfg.eval_batch_size or cfg.micro_batch_size) * cfg.sequence_len * max(1, cfg.world_size or 1)
    if tokens < batch:
        msg = (
            f"the held-out rows have {tokens} tokens, and a packed batch of the evaluation takes {batch}: "
            f"hold out more rows, or set `eval_sample_packing: false`."
        )
        raise ValueError(msg)


def _split(rows: int, held: int, seed: list[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[held:]), np.sort(order[:held])


def _notes(name: str, scores: NDArray[np.float64], levels: NDArray[np.int64]) -> list[str]:
    """What is worth knowing about the cut; `scores` in its order."""
    notes = []
    missing = int(np.isnan(scores).sum())
    if missing:
        notes.append(f"dataset `{name}`: {missing} of {len(scores)} rows have no difficulty score and took the median")
    bounds = np.cumsum(levels)[:-1]
    cut = [scores[bound] for bound in bounds if scores[bound - 1] == scores[bound]]
    tied = int(np.isin(scores, cut).sum())
    if tied:
        notes.append(f"dataset `{name}`: {tied} of {len(scores)} rows tie across two levels and were cut in data order")
    return notes


def _concatenate(parts: list[Dataset]) -> Dataset:
    # Axolotl's strategies do not agree on the width of their integers.
    return concatenate_datasets([part.cast(parts[0].features) for part in parts])
