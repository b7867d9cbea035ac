"""Difficulty: how hard a row is, by its length, a column of the data, or the loss of the initial model."""

import hashlib
import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import AutoModelForCausalLM

from hbo_plugin.args import MODEL_SCORES
from hbo_plugin.data.rows import digest, fetch, lengths
from hbo_plugin.signals.passes import answer_loss, by_length, pad

LOG = logging.getLogger(__name__)

COLUMN = "hbo_difficulty"
"""Carries a column of the user's data through Axolotl's tokenising."""

_SAVE_EVERY = 50
"""Batches between two saves of unfinished scores."""


class Scorer:
    """Scores the rows of datasets, with one model for all of them, and a cache on disk."""

    def __init__(self, kind: str, cfg: Any, tokenizer: Any, cache: Path) -> None:
        """Nothing is loaded until a score is missing.

        Args:
            kind: `length`, `loss`, `perplexity`, `ifd` or the name of a column.
            cfg: Axolotl's configuration, for the model and its precision.
            tokenizer: whose beginning-of-sequence token stands before an answer without its prompt.
            cache: folder of the scores.
        """
        self._kind = kind
        self._cfg = cfg
        self._bos = tokenizer.bos_token_id
        self._cache = cache

    def score(self, dataset: Any, name: str) -> NDArray[np.float64]:
        """Difficulty of each row of a tokenised dataset, larger is harder, NaN where there is none; float64[rows]."""
        if self._kind == "length":
            return lengths(dataset).astype(np.float64)
        if self._kind in MODEL_SCORES:
            return self._model_scores(dataset, name)
        try:
            return np.array([np.nan if x is None else float(x) for x in dataset[COLUMN]], dtype=np.float64)
        except (TypeError, ValueError) as error:
            msg = f"`hbo.difficulty: {self._kind}` is not a number in every row of dataset `{name}` ({error}); use a numeric column."
            raise ValueError(msg) from error

    def _model_scores(self, dataset: Any, name: str) -> NDArray[np.float64]:
        key = hashlib.blake2b(f"{digest(dataset)} {self._model_id} {self._kind}".encode(), digest_size=16).hexdigest()
        done, unfinished = self._cache / f"{key}.npy", self._cache / f"{key}.partial.npy"
        if done.exists():
            return np.load(done)  # type: ignore[no-any-return]
        self._cache.mkdir(parents=True, exist_ok=True)
        scores = self._unfinished(dataset, name, unfinished)
        _save(done, scores)
        unfinished.unlink(missing_ok=True)
        return scores

    def _unfinished(self, dataset: Any, name: str, partial: Path) -> NDArray[np.float64]:
        """Score all rows, taking up an interrupted attempt: the batches are the same every time."""
        count = lengths(dataset)
        batches = list(by_length(count, self._cfg.micro_batch_size * self._cfg.sequence_len))
        scores = np.full(len(count), np.nan)
        first = 0
        if partial.exists():
            saved = np.load(partial)
            first, scores = int(saved[0]), saved[1:]
        with tqdm(total=len(count), desc=f"hbo: {self._kind} of {name}", unit="row") as bar:
            bar.update(sum(map(len, batches[:first])))
            for index, batch in enumerate(batches[first:], start=first + 1):
                scores[batch] = self._batch_scores(fetch(dataset, batch))
                bar.update(len(batch))
                if index % _SAVE_EVERY == 0:
                    _save(partial, np.concatenate([[index], scores]))
        return scores

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

    @property
    def _model_id(self) -> str:
        """The name of the initial model, and for a folder its weights' sizes and times."""
        folder = Path(self._cfg.base_model)
        weights = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]) if folder.is_dir() else []
        stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
        return f"{self._cfg.base_model} {self._cfg.revision_of_model} {stamps}"

    @cached_property
    def _model(self) -> Any:
        LOG.info("hbo: loading `%s` to score the difficulty of the data", self._cfg.base_model)
        half = self._cfg.bf16 or self._cfg.fp16
        dtype = (torch.bfloat16 if self._cfg.bf16 else torch.float16) if half else torch.float32
        model: Any = AutoModelForCausalLM.from_pretrained(
            self._cfg.base_model,
            revision=self._cfg.revision_of_model,
            trust_remote_code=bool(self._cfg.trust_remote_code),
            dtype=dtype,
        )
        device = f"cuda:{self._cfg.local_rank or 0}" if torch.cuda.is_available() else "cpu"
        return model.to(device).eval()


def _mean_loss(model: Any, rows: list[dict[str, Any]]) -> NDArray[np.float64]:
    sums, tokens = answer_loss(model, pad(rows))
    with np.errstate(invalid="ignore"):
        return (sums / tokens).double().cpu().numpy()


def _save(path: Path, scores: NDArray[np.float64]) -> None:
    """Write as a whole or not at all."""
    draft = path.with_suffix(".writing")
    with draft.open("wb") as file:
        np.save(file, scores)
    draft.replace(path)
