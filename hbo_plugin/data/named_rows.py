"""Named rows: the rows of each dataset and held-out set, prepared and scored, and refused where nothing can be trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hbo_plugin.data.columns import Column, Columns, no_column, values_of
from hbo_plugin.data.difficulty import Scorer, column_of
from hbo_plugin.data.entries import Entries
from hbo_plugin.data.mixture import Mixture, Part
from hbo_plugin.data.prepared import Prepared, Preparer
from hbo_plugin.features import MODEL_SCORES
from hbo_plugin.messages import all_of


@dataclass(frozen=True)
class NamedRows:
    """The rows of one dataset or held-out set.

    Attributes:
        name: of it.
        prepared: the rows of its entry.
        own: which of them are its own, int64[rows].
        first: how many rows the entries before its own have.
        raw_rows: how many rows of the user's it was made of.
        scores: how hard each of its rows is, float64[rows]; nothing for a held-out set.
        weights: the value of each row of its entry in the column that weighs rows; nothing where none does.
        unscored: how many of its rows have no score yet, in which case no row's says anything.
    """

    name: str
    prepared: Prepared
    own: NDArray[np.int64]
    first: int
    raw_rows: int
    scores: NDArray[np.float64]
    weights: pa.Array
    unscored: int = 0

    @property
    def trained(self) -> NDArray[np.int32]:
        """Tokens of each row that the model learns to predict, int32[rows]."""
        return self.prepared.trained[self.own]


@dataclass(frozen=True)
class Unscored:
    """Rows that are prepared and not scored.

    Attributes:
        training: of each entry of `datasets:`, its name, its column of difficulties, its rows, and those of its datasets.
        held_out: the rows of `test_datasets:`.
        scorer: of the former.
    """

    training: list[tuple[str, Column | None, Prepared, list[NamedRows]]]
    held_out: list[NamedRows]
    scorer: Scorer

    def scored(self, *, run_model: bool) -> list[NamedRows]:
        """The datasets, with how hard each row is.

        Args:
            run_model: whether the model is run on rows that have no score yet; then every process of a launcher calls this.
        """
        if run_model:
            self.scorer.warn_of_time([prepared for _, _, prepared, _ in self.training])
        found = all_of(partial(self._scored, *each, run_model=run_model) for each in self.training)
        return [each for named in found for each in named]

    def _scored(
        self, name: str, column: Column | None, prepared: Prepared, named: list[NamedRows], *, run_model: bool
    ) -> list[NamedRows]:
        missing = np.zeros(len(prepared.lengths), np.bool_) if run_model else self.scorer.missing(prepared)
        scores = np.zeros(len(missing)) if missing.any() else self.scorer.score(prepared, name, column)
        return [replace(each, scores=scores[each.own], unscored=int(missing[each.own].sum())) for each in named]


def prepare(
    cfg: Any,
    kind: str,
    mixture: Mixture,
    weighed_by: str | None,
    tokenizer: Any,
    *,
    scorer_model: str | None,
    holds_out: Callable[[str], bool],
) -> Unscored:
    """The rows of the datasets and the held-out sets.

    Args:
        cfg: Axolotl's configuration.
        kind: of difficulty.
        mixture: of the run.
        weighed_by: the column that weighs rows to train on; None where none does.
        tokenizer: of the run.
        scorer_model: that scores in place of the run's own.
        holds_out: whether a dataset holds out rows of its own; one that is left out and does not is not prepared.
    """
    entries = Entries(cfg)
    training = [
        part
        for part in mixture.training
        if any(each.name not in mixture.left_out or holds_out(each.name) for each in part.groups)
    ]
    # Refused before a row is tokenised.
    columns = Columns(entries)
    by = _columns(columns, "difficulty", column_of(kind), training, ("length", *MODEL_SCORES))
    drawn = [part for part in training if any(each.name not in mixture.left_out for each in part.groups)]
    weights = _columns(columns, "row_weights.column", weighed_by, drawn)
    preparer = Preparer(entries, tokenizer)
    scorer = Scorer(kind, cfg, tokenizer, entries.files, entries.folder / "scores", scorer_model)
    scorer.refuse()

    def rows(part: Part, split: str, column: Column | None, weighs: Column | None) -> tuple[Prepared, list[NamedRows]]:
        versions = [each.version for each in (part.column, column, weighs) if each and each.version]
        prepared = preparer.load(part.name, part.entry, split=split, versions=versions)
        return prepared, _named(part, prepared, weighs)

    wanted: list[tuple[Part, str, Column | None, Column | None]] = [
        *((part, "train", by.get(part.name), weights.get(part.name)) for part in training),
        *((part, "test", None, None) for part in mixture.held_out),
    ]
    # All of them before a model scores the first, which takes longest.
    found = all_of(partial(rows, *each) for each in wanted)
    parts, tested = _numbered(found[: len(training)]), _numbered(found[len(training) :])
    return Unscored(
        [(part.name, by.get(part.name), *each) for part, each in zip(training, parts, strict=True)],
        [each for _, named in tested for each in named],
        scorer,
    )


def _numbered(found: Sequence[tuple[Prepared, list[NamedRows]]]) -> list[tuple[Prepared, list[NamedRows]]]:
    """The rows of entries, one entry after the other."""
    firsts = np.cumsum([0, *(len(prepared.lengths) for prepared, _ in found)]).tolist()
    return [
        (prepared, [replace(each, first=first) for each in named])
        for first, (prepared, named) in zip(firsts, found, strict=False)
    ]


def _columns(
    columns: Columns, key: str, name: str | None, parts: Sequence[Part], others: Sequence[str] = ()
) -> dict[str, Column]:
    """The column that a key names, by entry; nothing where it names none. In its place, the key may have one of the `others`."""
    if name is None:
        return {}
    found = {part.name: columns.read(part.name, part.entry, "train", name) for part in parts}
    for entry, column in found.items():
        if not column.exists:
            msg = no_column(key, name, [entry], column.present, others)
            raise ValueError(msg)
    return found


def _named(part: Part, prepared: Prepared, weighs: Column | None) -> list[NamedRows]:
    """The datasets or held-out sets of an entry, none of them without a token to train on."""
    raw_rows = part.raw_rows(prepared)
    weights = values_of(weighs, prepared.raw_row, part.name, "row_weights") if weighs else pa.nulls(0)
    named = [
        NamedRows(name, prepared, own, 0, raw_rows[name], np.empty(0), weights)
        for name, own in part.rows(prepared).items()
    ]
    all_of(partial(_refuse_untrainable, each, grouped=part.column is not None) for each in named)
    return named


def _refuse_untrainable(dataset: NamedRows, *, grouped: bool) -> None:
    name, rows = dataset.name, len(dataset.own)
    if not rows:
        merge = ", or merge it into `other` by `hbo.group_min_rows`" if grouped else ", or remove it"
        msg = (
            f"dataset `{name}` has no rows: it is empty, or all its rows are longer than `sequence_len` or "
            f"without a token to train on; change that{merge}."
        )
        raise ValueError(msg)
    if not dataset.trained.any():
        msg = (
            f"dataset `{name}` has no token to train on in any of its {rows} rows: every label is masked. "
            f"Check its `type`, `train_on_inputs` and `roles_to_train`, or remove it."
        )
        raise ValueError(msg)
