"""Difficulty: how hard a row is, by its length, a column of the data, or what a model finds of it."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from hbo_plugin.data.columns import Column, values_of
from hbo_plugin.data.files import FileDigests
from hbo_plugin.data.prepared import Prepared, tokenizer_digest
from hbo_plugin.data.score_file import UNSCORED, ScoreFile
from hbo_plugin.data.scoring_model import ScoringModel
from hbo_plugin.features import MODEL_SCORES
from hbo_plugin.ranks import Ranks
from hbo_plugin.signals.padding import IGNORED, by_length, fetch, pad
from hbo_plugin.signals.passes import answer_loss

LOG = logging.getLogger(__name__)

_TURN = 4
"""Batches that each rank scores before all have the scores of all."""
_SAVE_SECONDS = 30.0
"""Between two saves of unfinished scores."""
_LONG = 1.0
"""Hours of scoring on a CPU that get a warning."""


def column_of(kind: str) -> str | None:
    """The column of the raw rows that a `difficulty` names; None for the kinds that hbo computes."""
    return None if kind == "length" or kind in MODEL_SCORES else kind


class Scorer:
    """Scores the rows of datasets, with one model for all of them, and a cache on disk."""

    def __init__(
        self, kind: str, cfg: Any, tokenizer: Any, files: FileDigests, cache: Path, model: str | None = None
    ) -> None:
        """Nothing is loaded until a score is missing.

        Args:
            kind: `length`, `loss`, `perplexity`, `ifd`, `margin` or the name of a column.
            cfg: Axolotl's configuration, for the model and its precision.
            tokenizer: of the texts of pairs; its beginning-of-sequence token stands before an answer without its prompt.
            files: digests of the model's files.
            cache: folder of the scores.
            model: that scores in place of the run's own.
        """
        self._kind = kind
        self._cfg = cfg
        self._tokenizer = tokenizer
        # At once: what is tokenised may leave its options in what the tokenizer saves.
        self._read_by = tokenizer_digest(tokenizer) if kind == "margin" else tokenizer.bos_token_id
        self._cache = cache
        self._model = ScoringModel(cfg, tokenizer, files, model)

    def refuse(self) -> None:
        """Raise a ValueError where the model cannot score these rows; its files are looked at, and no weights loaded."""
        if self._kind in MODEL_SCORES:
            self._model.refuse()
            _ = self._model.identity

    def score(self, part: Prepared, name: str, column: Column | None = None) -> NDArray[np.float64]:
        """The score of each row of an entry, by which levels are cut, NaN where there is none; float64[rows].

        Where a model scores, every process of a launcher calls it, for the same entries in the same order.

        Args:
            part: the rows.
            name: of the entry, for messages.
            column: with the values, where the kind is the name of a column.
        """
        if self._kind == "length":
            return part.lengths.astype(np.float64)
        if self._kind in MODEL_SCORES:
            return self._model_scores(part, name)
        values = () if column is None else values_of(column, part.raw_row, name, "difficulty").to_pylist()
        try:
            return np.array([np.nan if x is None else float(x) for x in values], dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"`hbo.difficulty: {self._kind}` is not a number in every row of dataset `{name}` ({error}); use a numeric column."
            raise ValueError(msg) from error

    def missing(self, part: Prepared) -> NDArray[np.bool_]:
        """On which rows of an entry the model must still be run, bool[rows]."""
        if self._kind not in MODEL_SCORES:
            return np.zeros(len(part.lengths), np.bool_)
        return np.asarray(self._file(part).read() == UNSCORED)

    def warn_of_time(self, parts: Sequence[Prepared]) -> None:
        """Say how long the scores of these entries that are missing will take, where it is hours on a CPU."""
        if self._kind not in MODEL_SCORES or self._model.device.type != "cpu":
            return
        tokens = sum(int(self._tokens(part)[self.missing(part)].sum()) for part in parts)
        if tokens and (hours := self._model.hours(tokens)) > _LONG:
            LOG.warning(
                "hbo: `%s` takes about %s hours for the difficulty `%s` of %s tokens on this CPU; stop it and run "
                "`axolotl hbo-score %s` on the training machine, or name a small model in `hbo.scorer_model`",
                *(self._model.name, f"{hours:,.0f}", self._kind, f"{tokens:,}", self._cfg.axolotl_config_path),
            )

    def _tokens(self, part: Prepared) -> NDArray[np.int64]:
        """That the model reads to score each row, int64[rows]."""
        alone = part.trained if self._kind == "ifd" else 0
        return part.lengths.astype(np.int64) + alone

    def _file(self, part: Prepared) -> ScoreFile:
        stamp = f"{part.digest} {self._model.identity} {self._read_by} {self._kind}"
        name = hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()
        return ScoreFile(self._cache / f"{name}.npy", len(part.lengths))

    def _model_scores(self, part: Prepared, name: str) -> NDArray[np.float64]:
        ranks, file = Ranks.launched(), self._file(part)
        keeps = not self._cfg.local_rank  # one process of each node
        kept = file.read() if keeps else np.zeros(len(part.lengths))
        incomplete = bool((kept == UNSCORED).any())
        # Rank 0's count: a node with a disk of its own may have others, or none.
        scores = ranks.sum(kept if ranks.rank == 0 else np.zeros_like(kept))
        if (scores == UNSCORED).any():
            try:
                self._finish(part, name, scores, ranks, file if keeps else None)
            except torch.OutOfMemoryError as error:
                msg = (
                    f"`{self._model.name}` does not fit in the memory of `{self._model.device}` with batches of "
                    f"{self._batch_tokens} tokens; lower `micro_batch_size`, or name a smaller model in `hbo.scorer_model`."
                )
                raise ValueError(msg) from error
        if incomplete:
            file.save(scores)
        return scores

    @property
    def _batch_tokens(self) -> int:
        return int(self._cfg.micro_batch_size * self._cfg.sequence_len)

    def _finish(
        self, part: Prepared, name: str, scores: NDArray[np.float64], ranks: Ranks, file: ScoreFile | None
    ) -> None:
        """Score the rows that have no score yet, each rank its share, and save now and then."""
        missing = np.flatnonzero(scores == UNSCORED)
        batches = [missing[batch] for batch in by_length(part.lengths[missing], self._batch_tokens)]
        what, done, saved = f"hbo: {self._kind} of {name}", len(scores) - len(missing), monotonic()
        if file is not None:
            file.save(scores)  # refused before the work
        with tqdm(total=len(scores), initial=done, desc=what, unit="row", disable=ranks.rank > 0) as bar:
            for first in range(0, len(batches), ranks.size * _TURN):
                turn = batches[first : first + ranks.size * _TURN]
                own = [
                    self._batch_scores(fetch(part.rows, rows))
                    if number % ranks.size == ranks.rank
                    else torch.zeros(len(rows), dtype=torch.float64, device=self._model.device)
                    for number, rows in enumerate(turn)
                ]
                scores[np.concatenate(turn)] = ranks.sum(torch.cat(own).cpu().numpy())
                bar.update(sum(map(len, turn)))
                if file is not None and monotonic() - saved >= _SAVE_SECONDS:
                    file.save(scores)
                    saved = monotonic()

    @torch.no_grad()
    def _batch_scores(self, rows: list[dict[str, Any]]) -> torch.Tensor:
        """Of some rows, float64[rows], where the model is; the next batch is made ready while it works."""
        if self._kind == "margin":
            chosen, rejected = (
                _mean_loss(self._model.network, self._answers(rows, name)) for name in ("chosen", "rejected")
            )
            return rejected - chosen
        given_prompt = _mean_loss(self._model.network, rows)
        if self._kind == "loss":
            return given_prompt
        if self._kind == "perplexity":
            return given_prompt.exp()
        return (given_prompt - _mean_loss(self._model.network, [self._answer(row) for row in rows])).exp()

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer without its prompt (IFD, arXiv 2308.12032, equation 4)."""
        bos = self._tokenizer.bos_token_id
        return _row([] if bos is None else [bos], [label for label in row["labels"] if label >= 0])

    def _answers(self, rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        """The `chosen` or `rejected` answers of pairs of texts behind their prompts, with the tokens that `sequence_len` counts."""
        prompts, answers = (
            self._tokenizer([row[part] for row in rows], add_special_tokens=False)["input_ids"]
            for part in ("prompt", name)
        )
        return [_row(*each) for each in zip(prompts, answers, strict=True)]


def _row(prompt: list[int], answer: list[int]) -> dict[str, Any]:
    """An answer behind its prompt."""
    ids = [*prompt, *answer] or [0]  # a row of nothing still needs a token to run on; its score is NaN
    return {"input_ids": ids, "labels": [IGNORED] * (len(ids) - len(answer)) + answer}


def _mean_loss(model: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    sums, tokens = answer_loss(model, pad(rows))
    return (sums / tokens).double()
