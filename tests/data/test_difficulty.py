"""Difficulty: each score against a calculation of its own, cached, and taken up where it was interrupted."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("axolotl")

import torch
from axolotl.utils.dict import DictDefault
from datasets import Dataset, Features, Sequence, Value
from torch.nn import functional
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from hbo_plugin.data import difficulty
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.data.files import FileDigests
from hbo_plugin.data.prepared import Prepared
from hbo_plugin.data.rows import TokenError, check, digest, lengths, read, trained, typed

BOS = 0


def rows(count: int = 12, answer_from: int = 2) -> Dataset:
    rng = np.random.default_rng(3)
    ids = [rng.integers(2, 300, 4 + i % 7).tolist() for i in range(count)]
    labels = [[-100] * answer_from + row[answer_from:] for row in ids]
    labels[1] = [-100] * len(ids[1])  # no answer at all
    return Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": labels})


def scorer(model: Path, cache: Path, kind: str, *, by: Path | None = None, added: int = 0, **changes: Any) -> Scorer:
    """Of a run of a model, by itself or by another one, with so many tokens that the configuration adds."""
    cfg = DictDefault(
        {"base_model": str(model), "base_model_config": str(model), "micro_batch_size": 2, "sequence_len": 10, **changes}
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([f"<new{number}>" for number in range(added)])
    return Scorer(kind, cfg, tokenizer, FileDigests(cache / "digests.json"), cache, by and str(by))


def prepared(count: int = 12) -> Prepared:
    data = rows(count)
    made = Prepared((), lengths(data), trained(data), digest(data), raw_rows=count)
    made.__dict__["rows"] = data  # which it would read from files
    return made


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
    scores = scorer(tiny_model, tmp_path, kind).score(prepared(), "x")
    np.testing.assert_allclose(scores, one_by_one(tiny_model, rows(), kind), rtol=1e-4)
    assert np.isnan(scores[1])


def test_length_needs_no_model(tiny_model: Path, tmp_path: Path) -> None:
    without = scorer(tiny_model, tmp_path, "length", base_model="nothing here")
    without.refuse()
    scores = without.score(prepared(), "x")
    assert scores.tolist() == [4 + i % 7 for i in range(12)]


def test_lengths_follow_a_selection() -> None:
    assert lengths(rows().select([3, 0, 7])).tolist() == [7, 4, 4]


def test_scores_are_cached_by_data_model_and_kind(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scorer(tiny_model, tmp_path, "loss").score(prepared(), "x")
    scorer(tiny_model, tmp_path, "ifd").score(prepared(), "x")
    scorer(tiny_model, tmp_path, "loss").score(prepared(11), "x")
    assert len(list(tmp_path.glob("*.npy"))) == 3
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    np.testing.assert_array_equal(scorer(tiny_model, tmp_path, "loss").score(prepared(), "x"), first)


def test_an_interrupted_scoring_goes_on(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scorer(tiny_model, tmp_path / "whole", "loss").score(prepared(), "x")
    monkeypatch.setattr(difficulty, "_TURN", 2)
    monkeypatch.setattr(difficulty, "_SAVE_SECONDS", 0)
    scored: list[int] = []
    honest = Scorer._batch_scores

    def count(self: Scorer, batch: list[Any], fail_at: int | None) -> Any:
        if fail_at is not None and len(scored) >= fail_at:
            raise KeyboardInterrupt
        scored.append(len(batch))
        return honest(self, batch)

    monkeypatch.setattr(Scorer, "_batch_scores", lambda self, batch: count(self, batch, 3))
    with pytest.raises(KeyboardInterrupt):
        scorer(tiny_model, tmp_path / "cut", "loss").score(prepared(), "x")
    monkeypatch.setattr(Scorer, "_batch_scores", lambda self, batch: count(self, batch, None))
    before = len(scored)
    missing = scorer(tiny_model, tmp_path / "cut", "loss").missing(prepared())
    assert missing.sum() == 12 - sum(scored[:2])
    resumed = scorer(tiny_model, tmp_path / "cut", "loss").score(prepared(), "x")
    np.testing.assert_array_equal(resumed, whole)
    assert sum(scored[:2]) + sum(scored[before:]) == 12  # two of the three batches were saved
    assert sum(scored[before:]) == missing.sum()
    assert len(list((tmp_path / "cut").glob("*.npy"))) == 1
    assert not scorer(tiny_model, tmp_path / "cut", "loss").missing(prepared()).any()
    assert scorer(tiny_model, tmp_path / "cut", "ifd").missing(prepared()).all()
    assert not scorer(tiny_model, tmp_path / "cut", "length").missing(prepared()).any()


@pytest.mark.parametrize("batch", [1, 3])
def test_an_interrupted_scoring_goes_on_in_other_batches(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole = scorer(tiny_model, tmp_path / "whole", "perplexity").score(prepared(), "x")
    monkeypatch.setattr(difficulty, "_TURN", 1)
    monkeypatch.setattr(difficulty, "_SAVE_SECONDS", 0)
    honest, calls = Scorer._batch_scores, []

    def fail(self: Scorer, rows: list[Any]) -> Any:
        calls.append(len(rows))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return honest(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Scorer, "_batch_scores", fail)
        with pytest.raises(KeyboardInterrupt):
            scorer(tiny_model, tmp_path / "cut", "perplexity").score(prepared(), "x")
    other = scorer(tiny_model, tmp_path / "cut", "perplexity")
    other._cfg.micro_batch_size = batch
    np.testing.assert_allclose(other.score(prepared(), "x"), whole, rtol=1e-5)


@pytest.mark.parametrize("damage", ["emptied", "cut", "flipped", "another"])
@pytest.mark.parametrize("partial", [False, True])
def test_damaged_scores_are_computed_again(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, *, partial: bool
) -> None:
    whole = scorer(tiny_model, tmp_path, "loss").score(prepared(), "x")
    (path,) = tmp_path.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[140] ^= 1
    np.save(tmp_path / "other", np.zeros(3))
    damaged = {
        "emptied": b"",
        "cut": bytes(content[:40]),
        "flipped": bytes(content),
        "another": (tmp_path / "other.npy").read_bytes(),
    }
    if partial:
        path = path.rename(path.with_suffix(".partial.npy"))
    path.write_bytes(damaged[damage])
    np.testing.assert_array_equal(scorer(tiny_model, tmp_path, "loss").score(prepared(), "x"), whole)
    assert [path.name in record.getMessage() and "damaged" in record.getMessage() for record in caplog.records] == [
        True
    ]
    caplog.clear()
    scorer(tiny_model, tmp_path, "loss").score(prepared(), "x")
    assert not caplog.records


def test_a_copied_model_is_not_scored_again_and_a_changed_one_is(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = shutil.copytree(tiny_model, tmp_path / "copied", copy_function=shutil.copy)
    cache = tmp_path / "cache"
    scorer(tiny_model, cache, "loss").score(prepared(), "x")
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    scorer(copied, cache, "loss").score(prepared(), "x")
    weights = copied / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(pytest.fail.Exception):
        scorer(copied, cache, "loss").score(prepared(), "x")


def test_tokens_that_are_learned_are_counted() -> None:
    """The first token of a row is never predicted."""
    first_only = {"input_ids": [[5, 6, 7], [5], [], [5, 6]], "labels": [[5, -100, -100], [5], [], [-100, 6]]}
    assert trained(Dataset.from_dict(first_only)).tolist() == [0, 0, 0, 1]
    expected = [sum(label >= 0 for label in labels[1:]) for labels in rows()["labels"]]
    assert trained(rows()).tolist() == expected
    assert trained(rows().select([])).tolist() == []


def test_integers_have_the_same_width_in_every_dataset() -> None:
    narrow = rows().cast(Features(dict.fromkeys(rows().column_names, Sequence(Value("int16")))))
    assert typed(narrow).features == typed(rows()).features != narrow.features
    assert typed(narrow)[:] == rows()[:]
    assert typed(ready := typed(rows())) is ready


def test_collators_get_the_lists_of_numbers_that_all_datasets_have(tmp_path: Path) -> None:
    """Positions of packed rows, teachers of distillation, and whatever else a collator may know."""
    data = rows().add_column("position_ids", rows()["input_ids"][:])
    data = data.add_column("target_logprobs", [[[-0.5, -1.5]] * len(row) for row in data["input_ids"]])
    more = data.add_column("length", list(range(12))).add_column("text", ["x"] * 12)
    more = more.add_column("words", [["x"]] * 12).add_column("own", data["labels"][:]).add_column("none", [None] * 12)
    parts = {"first": more.select_columns(more.column_names[::-1]), "second": data.select(range(4))}
    for name, part in parts.items():
        part.save_to_disk(tmp_path / name)
    joined = read(next((tmp_path / name).glob("*.arrow")) for name in parts)
    assert sorted(joined.column_names) == sorted(data.column_names)
    assert joined.select_columns(data.column_names)[:] == {key: values + values[:4] for key, values in data[:].items()}


def test_rows_that_lack_something_are_named() -> None:
    check(rows())
    broken = rows().to_dict()
    broken["labels"][3] = None
    with pytest.raises(TokenError) as error:
        check(Dataset.from_dict(broken))
    assert str(error.value) == (
        "row 4 has 7 `input_ids`, 7 `attention_mask`, no `labels`; a row needs as many of each, so correct or remove it"
    )
    with pytest.raises(TokenError, match="its rows have `input_ids` but no `attention_mask` and no `labels`"):
        check(rows().select_columns(["input_ids"]))


def test_the_digest_sees_a_change_of_one_token_or_of_the_order() -> None:
    changed = rows().to_dict()
    changed["labels"][5][-1] += 1
    assert digest(rows()) == digest(rows())
    assert len({digest(rows()), digest(Dataset.from_dict(changed)), digest(rows().select([1, 0, *range(2, 12)]))}) == 3
