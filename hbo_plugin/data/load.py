"""Load: the datasets of a run through Axolotl's own loader, one entry at a time, laid out in cells."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from hbo_plugin import compat, options
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data import layout
from hbo_plugin.data.difficulty import Scorer, column_of
from hbo_plugin.data.held_out import HeldOutRows, halves, held_out_counts, target_shares, ties
from hbo_plugin.data.names import entry_names, metric_names
from hbo_plugin.data.prepared import Prepared, Preparer
from hbo_plugin.data.rows import read


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        train: the training set, cell after cell.
        cells: its layout.
        judging: rows kept from training or named under `test_datasets:`, on which the run is evaluated.
        steering: the other half of the sets that steer the run, at which methods look; empty where none does.
        target: how much each held-out set counts, shares that sum to 1.
        tied: the set that belongs to a dataset, by the dataset's name; a dataset without one is not a key.
        raw_rows: how many rows of the user's each dataset was made of.
        entries: where each dataset is read from, in keys of `datasets:`.
        origins: the row of the user's that each row of the training set was made of, counted from 0 in its dataset's
            entry, int64[rows]; -1 where there is none, and None without `record_rows`.
        metric_names: how metrics write the names of datasets and held-out sets, by name.
        notes: what a user should know about the data, a sentence each.
    """

    train: Dataset
    cells: Cells
    judging: HeldOutRows
    metric_names: dict[str, str]
    steering: HeldOutRows = field(default_factory=HeldOutRows)
    target: dict[str, float] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    raw_rows: dict[str, int] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: NDArray[np.int64] | None = None
    notes: list[str] = field(default_factory=list)

    def steps(self, cfg: Any) -> int:
        """Optimizer steps of the run; an epoch is as many rows as the training set has, or tokens when they are packed."""
        if cfg.sample_packing:
            epoch = int(self.cells.lengths.sum()) / (cfg.batch_size * cfg.sequence_len)
        else:
            epoch = len(self.train) / cfg.batch_size
        steps: int = math.ceil(epoch * cfg.num_epochs)
        return min(steps, int(cfg.max_steps or steps))


@dataclass(frozen=True)
class _Together:
    """The rows of several datasets, numbered one dataset after the other."""

    rows: Dataset
    lengths: NDArray[np.int32]
    trained: NDArray[np.int32]

    @classmethod
    def of(cls, parts: Sequence[Prepared]) -> "_Together":
        counts = (np.concatenate(each) for each in ([part.lengths for part in parts], [part.trained for part in parts]))
        return cls(read([file for part in parts for file in part.files]), *counts)

    def select(self, chosen: Iterable[NDArray[np.int64]]) -> "_Together":
        # All at once: each `select` of a Dataset looks at every row that it is given.
        order = np.concatenate([*chosen])
        return _Together(self.rows.select(order), self.lengths[order], self.trained[order])

    def of_sets(self, sets: Mapping[str, NDArray[np.int64]]) -> HeldOutRows:
        """The rows of held-out sets, set after set."""
        if not sets:
            return HeldOutRows()
        chosen = self.select(sets.values())
        ends = np.cumsum([0, *map(len, sets.values())]).tolist()
        return HeldOutRows(
            chosen.rows, chosen.lengths, {name: range(*ends[index : index + 2]) for index, name in enumerate(sets)}
        )


def load(cfg: Any, config: HBOConfig, *, steers: bool = False) -> RunData:
    """Load, score and lay out every dataset of a run; what was prepared before comes from the cache.

    Args:
        cfg: Axolotl's configuration.
        config: the `hbo:` block.
        steers: whether the method looks at held-out rows.

    Raises:
        ValueError: names the dataset that cannot be trained on, and what to do.
    """
    names, tests = entry_names(cfg.datasets, config.names), entry_names(cfg.test_datasets or [])
    config.check_names(names)
    if tests:
        ties(names, tests, config.held_out or {})  # refused before the data are read
    levels = config.levels_of(names)
    # A single level needs no order.
    kind = config.difficulty if max(levels) > 1 else "length"
    parts, scores, tested = compat.with_prepare_lock(cfg, partial(_prepare, cfg, kind, names, tests))
    counts = {name: len(part.lengths) for name, part in zip(names, parts, strict=True)}
    held, few = held_out_counts(cfg.val_set_size or 0, config.val_set_size or {}, counts)
    notes = [*options.notes_on_data(cfg), *few]
    first, chosen, sizes, fingerprints = 0, [], [], []
    sets: dict[str, NDArray[np.int64]] = {}
    for index, (name, part, hardness) in enumerate(zip(names, parts, scores, strict=True)):
        kept, out = layout.split(counts[name], held[name], [cfg.seed or 0, index])
        scored = hardness[kept] if config.easiest == "low" else -hardness[kept]
        order, cut = layout.cut_levels(scored, min(levels[index], len(kept)))
        order = kept[order]
        notes += _notes(name, part, scored, asked=levels[index], cut=len(cut))
        sizes.append(np.pad(cut, (0, max(levels) - len(cut))))
        fingerprints.append(layout.fingerprint(part.digest, order, cut))
        chosen.append(first + order)
        if held[name]:
            sets[name] = first + out
        first += counts[name]
    together = _Together.of(parts)
    train = together.select(chosen)
    cells = Cells(tuple(names), np.array(sizes), train.lengths, train.trained, tuple(fingerprints))
    if tests:
        ends = np.cumsum([0, *(len(part.lengths) for part in tested)])
        sets = {name: np.arange(*ends[index : index + 2]) for index, name in enumerate(tests)}
    target = target_shares(config.target, [*sets])
    steering, judging = {}, dict(sets)
    for name in sets if steers else (config.target or ()):
        judging[name], steering[name] = halves(sets[name], name)
    held_out = _Together.of(tested) if tests else together
    judges = held_out.of_sets(judging)
    if judging:
        options.check_packed_evaluation(cfg, judges.lengths)
    tied = ties(names, sets, config.held_out or {})
    raw_rows = {name: part.raw_rows for name, part in zip(names, parts, strict=True)}
    written = metric_names([*names, *sets])
    notes += [f"in metrics, `{name}` is written `{metric}`" for name, metric in written.items() if name != metric]
    entries = {name: _where(entry) for name, entry in zip(names, cfg.datasets, strict=True)}
    return RunData(
        train.rows,
        cells,
        judges,
        written,
        held_out.of_sets(steering),
        target,
        tied,
        raw_rows,
        entries,
        _origins(parts)[np.concatenate(chosen)] if config.record_rows else None,
        notes,
    )


def _where(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Of an entry of `datasets:`, the keys that say where it is read from."""
    keys = ("path", "data_files", "name", "split", "revision", "ds_type")
    return {key: entry[key] for key in keys if entry.get(key)}


def _origins(parts: Sequence[Prepared]) -> NDArray[np.int64]:
    """The raw row that each row of all datasets was made of; -1 where Axolotl does not tell."""
    return np.concatenate([np.full(len(part.lengths), -1) if part.raw_row is None else part.raw_row for part in parts])


def _prepare(
    cfg: Any, kind: str, names: Sequence[str], tests: Sequence[str]
) -> tuple[list[Prepared], list[NDArray[np.float64]], list[Prepared]]:
    """The rows of every dataset, how hard each is (of this `kind`), and the rows of every held-out set."""
    root = Path(cfg.dataset_prepared_path or compat.default_prepared_path()) / "hbo"
    tokenizer = compat.load_tokenizer(cfg)
    preparer = Preparer(cfg, tokenizer, root)
    scorer = Scorer(kind, cfg, tokenizer, preparer.files, root / "scores")
    parts, scores, tested = [], [], []
    for name, entry in zip(names, cfg.datasets, strict=True):
        parts.append(preparer.load(name, entry, split="train", column=column_of(kind)))
        _refuse_untrainable(name, parts[-1])
        scores.append(scorer.score(parts[-1], name))
    for name, entry in zip(tests, cfg.test_datasets or [], strict=True):
        tested.append(preparer.load(name, entry, split="test"))
        _refuse_untrainable(name, tested[-1])
    return parts, scores, tested


def _refuse_untrainable(name: str, part: Prepared) -> None:
    rows = len(part.lengths)
    if not rows:
        msg = (
            f"dataset `{name}` has no rows: it is empty, or all its rows are longer than `sequence_len` or "
            f"without a token to train on; change that, or remove it."
        )
        raise ValueError(msg)
    if not part.trained.any():
        msg = (
            f"dataset `{name}` has no token to train on in any of its {rows} rows: every label is masked. "
            f"Check its `type`, `train_on_inputs` and `roles_to_train`, or remove it."
        )
        raise ValueError(msg)


def _notes(name: str, part: Prepared, scores: NDArray[np.float64], *, asked: int, cut: int) -> list[str]:
    """What a user should know about a dataset, of whose levels so many were asked for and cut."""
    notes = []
    if (count := len(part.lengths)) < part.raw_rows:
        notes.append(
            f"dataset `{name}`: Axolotl dropped {part.raw_rows - count} of {part.raw_rows} rows, which are longer than "
            f"`sequence_len`, empty, doubled, or without a token to train on"
        )
    elif count > part.raw_rows:
        notes.append(f"dataset `{name}`: Axolotl split {part.raw_rows} rows into {count}")
    if without := int((part.trained == 0).sum()):
        notes.append(
            f"dataset `{name}`: {without} of {len(part.lengths)} rows have no token to train on, "
            f"because every label is masked"
        )
    if missing := int(np.isnan(scores).sum()):
        notes.append(f"dataset `{name}`: {missing} of {len(scores)} rows have no difficulty score and get the median")
    if cut < asked:
        notes.append(f"dataset `{name}` has {cut} instead of {asked} levels, because it has {cut} rows to train on")
    return notes
