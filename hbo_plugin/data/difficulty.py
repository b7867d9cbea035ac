"""Difficulty: how hard a row is, by its length, a column of the data, or the loss of the initial model."""

import hashlib
import io
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM

from hbo_plugin.args import MODEL_SCORES
from hbo_plugin.data.columns import Column, values_of
from hbo_plugin.data.files import FileDigests, write_whole
from hbo_plugin.data.prepared import Prepared
from hbo_plugin.signals.padding import by_length, fetch, pad
from hbo_plugin.signals.passes import answer_loss

LOG = logging.getLogger(__name__)

_SAVE_EVERY = 50
"""Batches between two saves of unfinished scores."""
_UNSCORED = -np.inf
"""Stands for a row that was not scored yet; no score can be it."""


def column_of(kind: str) -> str | None:
    """The column of the raw rows that a `difficulty` names; None for the kinds that hbo computes."""
    return None if kind == "length" or kind in MODEL_SCORES else kind


class Scorer:
    """Scores the rows of datasets, with one model for all of them, and a cache on disk."""

    def __init__(self, kind: str, cfg: Any, tokenizer: Any, files: FileDigests, cache: Path) -> None:
        """Nothing is loaded until a score is missing.

        Args:
            kind: `length`, `loss`, `perplexity`, `ifd` or the name of a column.
            cfg: Axolotl's configuration, for the model and its precision.
            tokenizer: whose beginning-of-sequence token stands before an answer without its prompt.
            files: digests of the model's files.
            cache: folder of the scores.
        """
        self._kind = kind
        self._cfg = cfg
        self._bos = tokenizer.bos_token_id
        self._files = files
        self._cache = cache

    def score(self, part: Prepared, name: str, column: Column | None = None) -> NDArray[np.float64]:
        """Difficulty of each row of an entry, larger is harder, NaN where there is none; float64[rows].

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
        return np.asarray(self._saved(part)[0] == _UNSCORED)

    def _model_scores(self, part: Prepared, name: str) -> NDArray[np.float64]:
        scores, path = self._saved(part)
        if not (scores == _UNSCORED).any():
            return scores
        partial = _partial(path)
        self._finish(part, name, scores, partial)
        _save(path, scores)
        partial.unlink(missing_ok=True)
        return scores

    def _saved(self, part: Prepared) -> tuple[NDArray[np.float64], Path]:
        """The scores on disk, of all rows or of those that a killed run got to; and the file of all."""
        stamp = f"{part.digest} {self._model_id} {self._bos} {self._kind}"
        path = self._cache / f"{hashlib.blake2b(stamp.encode(), digest_size=16).hexdigest()}.npy"
        count = len(part.lengths)
        for file in (path, _partial(path)):
            if (scores := _read(file, count)) is not None:
                return scores, path
        return np.full(count, _UNSCORED), path

    def _finish(self, part: Prepared, name: str, scores: NDArray[np.float64], partial: Path) -> None:
        """Score the rows that have no score yet, and save now and then."""
        missing = np.flatnonzero(scores == _UNSCORED)
        batches = by_length(part.lengths[missing], self._cfg.micro_batch_size * self._cfg.sequence_len)
        with tqdm(
            total=len(scores), initial=len(scores) - len(missing), desc=f"hbo: {self._kind} of {name}", unit="row"
        ) as bar:
            for index, batch in enumerate(batches, start=1):
                scores[missing[batch]] = self._batch_scores(fetch(part.rows, missing[batch]))
                bar.update(len(batch))
                if index % _SAVE_EVERY == 0:
                    _save(partial, scores)

    @torch.no_grad()
    def _batch_scores(self, rows: list[dict[str, Any]]) -> NDArray[np.float64]:
        given_prompt = _mean_loss(self._model, rows)
        if self._kind == "loss":
            return given_prompt
        if self._kind == "perplexity":
            return np.exp(given_prompt)
        return np.exp(given_prompt - _mean_loss(self._model, [self._answer(row) for row in rows]))

    def _answer(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer without its prompt (IFD, arXiv 2308.12032, equation 4)."""
        tokens = [label for label in row["labels"] if label >= 0]
        if self._bos is None:
            ids, labels = tokens, tokens
        else:
            ids, labels = [self._bos, *tokens], [-100, *tokens]
        # A row without an answer still needs a token to run on; its score is NaN.
        ids, labels = ids or [0], labels or [-100]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}

    @cached_property
    def _model_id(self) -> str:
        """The initial model: its files' digests, or on a hub its name and commit; and the precision."""
        folder = Path(self._cfg.base_model)
        if folder.is_dir():
            digests = self._files.of([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"])
            model = " ".join(f"{Path(file).name} {digest}" for file, digest in sorted(digests.items()))
        else:
            config = AutoConfig.from_pretrained(
                self._cfg.base_model,
                revision=self._cfg.revision_of_model,
                trust_remote_code=bool(self._cfg.trust_remote_code),
            )
            model = f"{self._cfg.base_model} {getattr(config, '_commit_hash', None) or self._cfg.revision_of_model}"
        return f"{model} {self._dtype}"

    @property
    def _dtype(self) -> torch.dtype:
        if self._cfg.bf16:
            return torch.bfloat16
        return torch.float16 if self._cfg.fp16 else torch.float32

    @cached_property
    def _model(self) -> Any:
        LOG.info("hbo: loading `%s` to score the difficulty of the data", self._cfg.base_model)
        model: Any = AutoModelForCausalLM.from_pretrained(
            self._cfg.base_model,
            revision=self._cfg.revision_of_model,
            trust_remote_code=bool(self._cfg.trust_remote_code),
            dtype=self._dtype,
        )
        device = f"cuda:{self._cfg.local_rank or 0}" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()


def _mean_loss(model: Any, rows: list[dict[str, Any]]) -> NDArray[np.float64]:
    sums, tokens = answer_loss(model, pad(rows))
    with np.errstate(invalid="ignore"):
        return (sums / tokens).double().cpu().numpy()


def _partial(path: Path) -> Path:
    """The file of unfinished scores, beside that of all."""
    return path.with_suffix(".partial.npy")


def _read(path: Path, count: int) -> NDArray[np.float64] | None:
    """Scores from a file; None where it is missing, or damaged, with a warning."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            scores, digest = np.load(file), np.load(file)
        if scores.shape == (count,) and scores.dtype == np.float64 and digest.tobytes() == _digest(scores):
            return np.asarray(scores)
        reason = "it does not hold what was written"
    except (OSError, ValueError, EOFError) as error:
        reason = str(error)
    LOG.warning("hbo: `%s` is damaged (%s); these scores are computed again", path, reason)
    return None


def _save(path: Path, scores: NDArray[np.float64]) -> None:
    content = io.BytesIO()
    np.save(content, scores)
    np.save(content, np.frombuffer(_digest(scores), np.uint8))
    write_whole(path, content.getvalue())


def _digest(scores: NDArray[np.float64]) -> bytes:
    return hashlib.blake2b(scores.tobytes(), digest_size=16).digest()
