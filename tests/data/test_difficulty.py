"""Difficulty: each score against a calculation of its own, cached, and taken up where it was interrupted."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from datasets import Dataset
from torch.nn import functional

from hbo_plugin.data import difficulty
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.data.rows import digest, fetch, lengths

BOS = 0


def rows(count: int = 12, answer_from: int = 2) -> Dataset:
    rng = np.random.default_rng(3)
    ids = [rng.integers(2, 300, 4 + i % 7).tolist() for i in range(count)]
    labels = [[-100] * answer_from + row[answer_from:] for row in ids]
    labels[1] = [-100] * len(ids[1])  # no answer at all
    return Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": labels})


def scorer(model: Path, cache: Path, kind: str) -> Scorer:
    cfg = SimpleNamespace(
        base_model=str(model), revision_of_model=None, trust_remote_code=None, bf16=False, fp16=False, local_rank=0,
        micro_batch_size=2, sequence_len=10,
    )  # fmt: skip
    return Scorer(kind, cfg, SimpleNamespace(bos_token_id=BOS), cache)


def one_by_one(model: Path, dataset: Dataset, kind: str) -> list[float]:
    """Row by row, without padding or batches, straight from the definitions."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(model).eval()

    def loss(ids: list[int], answer: int) -> float:
        """Mean loss of the last `answer` tokens."""
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0, -answer - 1 : -1]
        return float(functional.cross_entropy(logits, torch.tensor(ids[-answer:])))

    scores = []
    for row in dataset:
        answer = sum(label >= 0 for label in row["labels"])
        if not answer:
            scores.append(float("nan"))
            continue
        given_prompt = loss(row["input_ids"], answer)
        alone = loss([BOS, *row["input_ids"][-answer:]], answer)
        scores.append(
            {"loss": given_prompt, "perplexity": np.exp(given_prompt), "ifd": np.exp(given_prompt - alone)}[kind]
        )
    return scores


@pytest.mark.parametrize("kind", ["loss", "perplexity", "ifd"])
def test_model_scores(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    scores = scorer(tiny_model, tmp_path, kind).score(rows(), "x")
    np.testing.assert_allclose(scores, one_by_one(tiny_model, rows(), kind), rtol=1e-4)
    assert np.isnan(scores[1])


def test_length_needs_no_model(tmp_path: Path) -> None:
    scores = scorer(tmp_path / "nothing here", tmp_path, "length").score(rows(), "x")
    assert scores.tolist() == [4 + i % 7 for i in range(12)]


def test_lengths_follow_a_selection() -> None:
    assert lengths(rows().select([3, 0, 7])).tolist() == [7, 4, 4]


def test_rows_are_fetched_in_the_order_asked_for() -> None:
    data = rows()
    assert fetch(data, np.array([5, 0, 5])) == [data[5], data[0], data[5]]
    assert fetch(data, []) == []


def test_scores_are_cached_by_data_model_and_kind(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scorer(tiny_model, tmp_path, "loss").score(rows(), "x")
    scorer(tiny_model, tmp_path, "ifd").score(rows(), "x")
    scorer(tiny_model, tmp_path, "loss").score(rows(11), "x")
    assert len(list(tmp_path.glob("*.npy"))) == 3
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    np.testing.assert_array_equal(scorer(tiny_model, tmp_path, "loss").score(rows(), "x"), first)


def test_an_interrupted_scoring_goes_on(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scorer(tiny_model, tmp_path / "whole", "loss").score(rows(), "x")
    monkeypatch.setattr(difficulty, "_SAVE_EVERY", 2)
    scored: list[int] = []
    honest = Scorer._batch_scores

    def count(self: Scorer, batch: list[Any], fail_at: int | None) -> Any:
        if fail_at is not None and len(scored) >= fail_at:
            raise KeyboardInterrupt
        scored.append(len(batch))
        return honest(self, batch)

    monkeypatch.setattr(Scorer, "_batch_scores", lambda self, batch: count(self, batch, 3))
    with pytest.raises(KeyboardInterrupt):
        scorer(tiny_model, tmp_path / "cut", "loss").score(rows(), "x")
    monkeypatch.setattr(Scorer, "_batch_scores", lambda self, batch: count(self, batch, None))
    before = len(scored)
    resumed = scorer(tiny_model, tmp_path / "cut", "loss").score(rows(), "x")
    np.testing.assert_array_equal(resumed, whole)
    assert sum(scored[:2]) + sum(scored[before:]) == 12  # two of the three batches were saved
    assert [path.suffix for path in (tmp_path / "cut").iterdir()] == [".npy"]


def test_the_digest_sees_a_change_of_one_token_or_of_the_order() -> None:
    changed = rows().to_dict()
    changed["labels"][5][-1] += 1
    assert digest(rows()) == digest(rows())
    assert len({digest(rows()), digest(Dataset.from_dict(changed)), digest(rows().select([1, 0, *range(2, 12)]))}) == 3
