"""Load: the datasets of a run through Axolotl's own loader, one entry at a time, laid out in cells."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hbo_plugin import compat, options
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data import layout
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.data.entries import difficulty_column, entry_names, held_out_counts, load_entry
from hbo_plugin.data.rows import columns, concatenate, digest, lengths


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        train: the training set, cell after cell.
        cells: its layout.
        held_out: rows kept from training or named under `test_datasets:`, set after set; None without any.
        held_out_rows: the rows of `held_out` of each set.
        notes: what a user should know about the data, a sentence each.
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
    names = entry_names(cfg.datasets, config.names)
    config.check_names(names)
    root = Path(cfg.dataset_prepared_path or compat.default_prepared_path()) / "hbo"
    kind = config.difficulty if config.levels > 1 else "length"  # a single level needs no order
    scorer = Scorer(kind, cfg, tokenizer, root / "scores")

    def prepare() -> list[tuple[Dataset, NDArray[np.float64]]]:
        parts = []
        for name, entry in zip(names, cfg.datasets, strict=True):
            rows = load_entry(cfg, tokenizer, entry, root, split="train", column=difficulty_column(kind))
            parts.append((rows, scorer.score(rows, name)))
        return parts

    parts = compat.with_prepare_lock(cfg, prepare)
    counts = {name: len(rows) for name, (rows, _) in zip(names, parts, strict=True)}
    held = held_out_counts(cfg.val_set_size or 0, config.val_set_size or {}, counts)
    trained, tested, sizes, fingerprints, notes = [], {}, [], [], options.notes_on_data(cfg)
    for index, (name, (rows, scores), count) in enumerate(zip(names, parts, held, strict=True)):
        kept, out = layout.split(len(rows), count, [cfg.seed or 0, index])
        if len(kept) < config.levels:
            msg = (
                f"dataset `{name}` has {len(kept)} rows to train on, fewer than `hbo.levels: {config.levels}`: "
                f"lower `hbo.levels`, add rows, or remove the dataset."
            )
            raise ValueError(msg)
        if missing := int(np.isnan(scores[kept]).sum()):
            notes.append(f"dataset `{name}`: {missing} of {len(kept)} rows have no difficulty score and get the median")
        order, levels = layout.cut_levels(scores[kept], config.levels)
        order = kept[order]
        trained.append(columns(rows, packed=bool(cfg.sample_packing)).select(order))
        sizes.append(levels)
        fingerprints.append(layout.fingerprint(digest(rows), order, levels))
        if count:
            tested[name] = columns(rows, packed=bool(cfg.eval_sample_packing)).select(out)
    if cfg.test_datasets:
        tested = _test_sets(cfg, tokenizer, root)
    train = concatenate(trained)
    cells = Cells(tuple(names), np.array(sizes), lengths(train), tuple(fingerprints))
    ends = np.cumsum([0, *map(len, tested.values())]).tolist()
    ranges = {name: range(first, last) for name, first, last in zip(tested, ends, ends[1:], strict=False)}
    held_out = concatenate(list(tested.values())) if tested else None
    if held_out is not None:
        options.check_packed_evaluation(cfg, int(lengths(held_out).sum()))
    return RunData(train, cells, held_out, ranges, notes)


def _test_sets(cfg: Any, tokenizer: Any, root: Path) -> dict[str, Dataset]:
    def prepare() -> list[Dataset]:
        return [load_entry(cfg, tokenizer, entry, root, split="test") for entry in cfg.test_datasets]

    names, packed = entry_names(cfg.test_datasets), bool(cfg.eval_sample_packing)
    parts = compat.with_prepare_lock(cfg, prepare)
    return {name: columns(rows, packed=packed) for name, rows in zip(names, parts, strict=True)}
