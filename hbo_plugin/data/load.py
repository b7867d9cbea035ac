"""Load: the datasets of a run through Axolotl's own loader, one entry at a time, laid out in cells."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict
from numpy.typing import NDArray

from hbo_plugin import compat, options
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data import layout
from hbo_plugin.data.entries import where
from hbo_plugin.data.held_out import halves, held_out_counts, holds_out, judged, notes_on_steering, target_shares, ties
from hbo_plugin.data.mixture import Mixture, find_mixture
from hbo_plugin.data.named_rows import NamedRows, Unscored, prepare
from hbo_plugin.data.names import metric_names
from hbo_plugin.data.notes import notes_on_duplicates, notes_on_rows, notes_on_watching
from hbo_plugin.data.overlap import notes_on_overlap
from hbo_plugin.data.prepared import Prepared
from hbo_plugin.data.row_kinds import ROW_KINDS
from hbo_plugin.data.row_values import row_values
from hbo_plugin.generation import GenerationBatch
from hbo_plugin.kinds import SUPERVISED, Kind, kind_of
from hbo_plugin.messages import all_of
from hbo_plugin.row_weights.settings import ColumnSettings
from hbo_plugin.signals.context import HeldOutRows

_EASIEST = {"margin": "high"}
"""Which scores of a difficulty are the easiest where nobody says it; of all others the low ones."""


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
        watched: datasets that `max_epochs: auto` may stop.
        raw_rows: how many rows of the user's each dataset was made of.
        entries: where each dataset is read from, in keys of `datasets:`.
        origins: the row of the user's that each row of the training set was made of, counted from 0 in its dataset's
            entry, int64[rows]; -1 where there is none, and None without `record_rows` or `row_weights`.
        row_values: of the column that weighs rows, for each row of the training set, float64[rows]; None where none does.
        metric_names: how metrics write the names of datasets and held-out sets, by name.
        kind: of training.
        notes: what a user should know about the data, a sentence each.
        unscored: how many rows of a dataset have no difficulty yet, by its name; they stand in the order of the data.
    """

    train: Dataset
    cells: Cells
    judging: HeldOutRows
    metric_names: dict[str, str]
    kind: Kind = SUPERVISED
    steering: HeldOutRows = field(default_factory=HeldOutRows)
    target: dict[str, float] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    watched: list[str] = field(default_factory=list)
    raw_rows: dict[str, int] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    origins: NDArray[np.int64] | None = None
    row_values: NDArray[np.float64] | None = None
    notes: list[str] = field(default_factory=list)
    unscored: dict[str, int] = field(default_factory=dict)

    @property
    def evaluated(self) -> Dataset | DatasetDict | None:
        """What the Trainer evaluates: the rows that judge, together where their losses can be told apart, else set by set."""
        rows, sets = self.judging.rows, self.judging.sets
        if self.kind.supervised or not sets:
            return rows
        return DatasetDict({self.metric_names[name]: rows.select(of_set) for name, of_set in sets.items()})

    def steps(self, cfg: Any) -> int:
        """Optimizer steps of the run; an epoch is as many rows as the training set has, or tokens when they are packed.

        Under GRPO a row is a prompt, and an epoch ends with a whole generation batch.

        `max_steps` may be more than the epochs have: Axolotl's trainer then begins as many epochs as it takes.
        """
        if self.kind.generates:
            return int(cfg.max_steps or GenerationBatch.of_config(cfg).steps_of(len(self.train), cfg.num_epochs))
        if cfg.sample_packing:
            epoch = int(self.cells.lengths.sum()) / (cfg.batch_size * cfg.sequence_len)
        else:
            epoch = len(self.train) / cfg.batch_size
        return int(cfg.max_steps or math.ceil(epoch * cfg.num_epochs))


@dataclass(frozen=True)
class _Together:
    """The rows of several entries, numbered one entry after the other."""

    rows: Dataset
    lengths: NDArray[np.int32]
    trained: NDArray[np.int32]

    @classmethod
    def of(cls, datasets: Sequence[NamedRows], kind: Kind) -> "_Together":
        parts = _entries_of(datasets)
        counts = (np.concatenate(each) for each in ([part.lengths for part in parts], [part.trained for part in parts]))
        return cls(ROW_KINDS[kind.rows].read([file for part in parts for file in part.files]), *counts)

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


def load(
    cfg: Any,
    config: HBOConfig,
    mixture: Mixture | None = None,
    *,
    steers: bool = False,
    scores_missing: bool = True,
) -> RunData:
    """Load, score and lay out every dataset of a run; what was prepared before comes from the cache.

    Args:
        cfg: Axolotl's configuration.
        config: the `hbo:` block.
        mixture: which datasets there are; found here where it is not given.
        steers: whether held-out rows steer the run, or are recorded as if they did.
        scores_missing: whether the model is run on rows that have no difficulty yet.

    Raises:
        ValueError: names every dataset that cannot be trained on, and what to do.
    """
    mixture = mixture or find_mixture(cfg, config)
    names = mixture.names
    levels = dict(zip(names, config.levels_of(names), strict=True))
    # A single level needs no order.
    most = max(levels.values())
    difficulty = config.difficulty if most > 1 else "length"
    held_by = (cfg.val_set_size or 0, config.val_set_size or {})
    weighed_by = config.row_weights.column if isinstance(config.row_weights, ColumnSettings) else None
    preparing = partial(
        prepare,
        cfg,
        difficulty,
        mixture,
        weighed_by,
        compat.load_tokenizer(cfg),  # not under the lock, where Axolotl may wait for the ranks that wait for the lock
        scorer_model=config.scorer_model,
        holds_out=partial(holds_out, *held_by),
    )
    found: Unscored = compat.with_prepare_lock(cfg, preparing)
    datasets, tested = found.scored(run_model=scores_missing), found.held_out
    counts = {each.name: len(each.own) for each in datasets}
    held, few = held_out_counts(*held_by, counts)
    notes = [*notes_on_duplicates(cfg), *mixture.notes, *few]
    drawn, chosen, sizes, fingerprints = [], [], [], []
    sets: dict[str, NDArray[np.int64]] = {}
    # Among all of them, so that leaving one out changes what no other holds out.
    place = {name: index for index, name in enumerate(mixture.all_names)}
    for each in datasets:
        kept, out = layout.split(counts[each.name], held[each.name], [cfg.seed or 0, place[each.name]])
        if held[each.name]:
            sets[each.name] = each.first + each.own[out]
        if each.name in mixture.left_out:
            continue
        scored = -each.scores[kept] if (config.easiest or _EASIEST.get(difficulty)) == "high" else each.scores[kept]
        order, cut = layout.cut_levels(scored, min(levels[each.name], len(kept)))
        rows = each.own[kept[order]]
        notes += notes_on_rows(each, scored, difficulty, asked=levels[each.name], cut=len(cut))
        sizes.append(np.pad(cut, (0, most - len(cut))))
        fingerprints.append(layout.fingerprint(each.prepared.digest, rows, cut))
        drawn.append(each)
        chosen.append(each.first + rows)
    together = _Together.of(datasets, kind_of(cfg))
    train = together.select(chosen)
    cells = Cells(tuple(names), np.array(sizes), train.lengths, train.trained, tuple(fingerprints))
    if tested:
        sets = {each.name: each.first + each.own for each in tested}
    target = target_shares(config.target, [*sets])
    tied = ties(names, sets, config.held_out or {})
    watched, unseen = judged(config.auto_epochs(names), sets, tied)
    steering, judging = {}, dict(sets)
    steer = sets if steers else dict.fromkeys((*(config.target or ()), *(tied[name] for name in watched)))
    for name, pair in zip(steer, all_of(partial(halves, sets[name], name) for name in steer), strict=True):
        judging[name], steering[name] = pair
    notes += notes_on_steering(steering) if steers else []
    held_out = _Together.of(tested, kind_of(cfg)) if tested else together
    judges = held_out.of_sets(judging)
    notes += notes_on_overlap(train.rows, judges) if config.target else []
    if judging:
        options.check_packed_evaluation(cfg, judges.lengths)
    written = metric_names([*names, *sets])
    notes += [
        *(f"in metrics, `{name}` is written `{metric}`" for name, metric in written.items() if name != metric),
        *unseen,
        *notes_on_watching(watched, config.update_every),
    ]
    entries = {each.name: where(part.entry) for part in mixture.training for each in part.groups}
    return RunData(
        train=train.rows,
        cells=cells,
        judging=judges,
        metric_names=written,
        kind=kind_of(cfg),
        steering=held_out.of_sets(steering),
        target=target,
        tied=tied,
        watched=watched,
        raw_rows={each.name: each.raw_rows for each in datasets},
        entries=entries,
        origins=_origins(datasets)[np.concatenate(chosen)] if config.record_rows or config.row_weights else None,
        row_values=row_values(weighed_by, drawn, chosen, train.trained) if weighed_by else None,
        notes=notes,
        unscored={each.name: each.unscored for each in datasets if each.unscored},
    )


def _entries_of(datasets: Sequence[NamedRows]) -> list[Prepared]:
    """The rows of each entry, once."""
    return list({each.first: each.prepared for each in datasets}.values())


def _origins(datasets: Sequence[NamedRows]) -> NDArray[np.int64]:
    """The raw row that each row of all entries was made of; -1 where Axolotl does not tell."""
    return np.concatenate(
        [np.full(len(part.lengths), -1) if part.raw_row is None else part.raw_row for part in _entries_of(datasets)]
    )
