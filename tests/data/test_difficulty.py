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
from margins import text_margin
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hbo_plugin.data import difficulty
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.data.files import FileDigests
from hbo_plugin.data.prepared import Prepared
from hbo_plugin.data.row_kinds import ROW_KINDS
from hbo_plugin.data.rows import TokenError, check, digest, lengths, read, trained, typed
from hbo_plugin.data.scoring_model import ScoringModel

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
        {
            "base_model": str(model),
            "base_model_config": str(model),
            "micro_batch_size": 2,
            "sequence_len": 10,
            **changes,
        }
    )
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens([f"<new{number}>" for number in range(added)])
    return Scorer(kind, cfg, tokenizer, FileDigests(cache / "digests.json"), cache, str(by) if by else None)


def prepared(count: int = 12) -> Prepared:
    data = rows(count)
    made = Prepared((), lengths(data), trained(data), digest(data), raw_rows=count)
    made.__dict__["rows"] = data  # which it would read from files
    return made


def pairs() -> Dataset:
    """Pairs of texts of very unequal length: some answers are longer than a batch, one is empty, and so is a prompt."""
    rng = np.random.default_rng(4)

    def text(words: int) -> str:
        return " ".join(rng.choice(["red", "green", "stone", "river,", "7", "cloud"], words))

    columns = {"prompt": [text(1 + i % 3) for i in range(12)]}
    columns |= {name: [text(1 + i * step % 7) for i in range(12)] for name, step in (("chosen", 3), ("rejected", 5))}
    columns["chosen"][1] = columns["prompt"][4] = ""
    return Dataset.from_dict(columns)


def prepared_pairs(model: Path) -> Prepared:
    data, kind = pairs(), ROW_KINDS["texts"]
    counted, answered = kind.counts(data, AutoTokenizer.from_pretrained(model))
    made = Prepared((), counted, answered, kind.digest(data), raw_rows=len(data))
    made.__dict__["rows"] = data
    return made


def one_by_one(model: Path, dataset: Dataset, kind: str) -> list[float]:
    """Row by row, without padding or batches, straight from the definitions."""
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


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Of hbo: libraries that are imported meanwhile have some too."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("hbo_plugin")]


@pytest.mark.parametrize("kind", ["loss", "perplexity", "ifd"])
def test_model_scores(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    scores = scorer(tiny_model, tmp_path, kind).score(prepared(), "x")
    np.testing.assert_allclose(scores, one_by_one(tiny_model, rows(), kind), rtol=1e-4)
    assert np.isnan(scores[1])


@pytest.mark.parametrize("micro_batch_size", [2, 6, 100])
def test_margins(tiny_model: Path, tmp_path: Path, micro_batch_size: int) -> None:
    """Whatever rows stand beside each other."""
    part = prepared_pairs(tiny_model)
    scores = scorer(tiny_model, tmp_path, "margin", micro_batch_size=micro_batch_size).score(part, "x")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny_model).eval(),
        AutoTokenizer.from_pretrained(tiny_model),
    )
    np.testing.assert_allclose(scores, [text_margin(model, tokenizer, **row) for row in pairs()], atol=1e-5)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [1]
    assert np.nanstd(scores) > 0.01


def test_margins_are_those_of_the_texts_and_kept_by_their_tokenizer(tiny_model: Path, tmp_path: Path) -> None:
    """No special token is added, and a tokenizer that would is another one; what it was used for does not matter."""
    part, cache = prepared_pairs(tiny_model), tmp_path / "cache"
    first = scorer(tiny_model, cache, "margin")
    first._tokenizer("some words of no row", truncation=True, max_length=2)
    scores = first.score(part, "x")
    assert not scorer(tiny_model, cache, "margin").missing(part).any()
    adds: Any = AutoTokenizer.from_pretrained(tiny_model)
    adds.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    other = shutil.copytree(tiny_model, tmp_path / "other")
    adds.save_pretrained(other)
    assert AutoTokenizer.from_pretrained(other)("red")["input_ids"][0] == 0
    again = scorer(other, cache, "margin")
    assert again.missing(part).all()
    np.testing.assert_array_equal(again.score(part, "x"), scores)


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


@pytest.mark.parametrize("kind", ["loss", "margin"])
def test_an_interrupted_scoring_goes_on(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    part = prepared() if kind == "loss" else prepared_pairs(tiny_model)
    whole = scorer(tiny_model, tmp_path / "whole", kind).score(part, "x")
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
        scorer(tiny_model, tmp_path / "cut", kind).score(part, "x")
    monkeypatch.setattr(Scorer, "_batch_scores", lambda self, batch: count(self, batch, None))
    before = len(scored)
    missing = scorer(tiny_model, tmp_path / "cut", kind).missing(part)
    assert missing.sum() == 12 - sum(scored[:2])
    resumed = scorer(tiny_model, tmp_path / "cut", kind).score(part, "x")
    np.testing.assert_array_equal(resumed, whole)
    assert sum(scored[:2]) + sum(scored[before:]) == 12  # two of the three batches were saved
    assert sum(scored[before:]) == missing.sum()
    assert len(list((tmp_path / "cut").glob("*.npy"))) == 1
    assert not scorer(tiny_model, tmp_path / "cut", kind).missing(part).any()
    assert scorer(tiny_model, tmp_path / "cut", "ifd").missing(part).all()
    assert not scorer(tiny_model, tmp_path / "cut", "length").missing(part).any()


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
    (warning,) = warnings_of(caplog)
    assert path.name in warning
    assert "damaged" in warning
    caplog.clear()
    scorer(tiny_model, tmp_path, "loss").score(prepared(), "x")
    assert not warnings_of(caplog)


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


def of_ids(*ids: list[int]) -> Prepared:
    """Rows of these tokens, all but the first of which are learned."""
    columns = {"attention_mask": [[1] * len(row) for row in ids], "labels": [[-100, *row[1:]] for row in ids]}
    data = Dataset.from_dict({"input_ids": [*ids], **columns})
    made = Prepared((), lengths(data), trained(data), digest(data), raw_rows=len(ids))
    made.__dict__["rows"] = data
    return made


def another_model(folder: Path, tokens: int) -> Path:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=tokens, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("to_32x", [False, True])
def test_tokens_that_the_configuration_adds_have_an_embedding(
    tiny_model: Path, tmp_path: Path, *, to_32x: bool
) -> None:
    """As many as the training has, and the same ones whenever and wherever they are drawn."""
    size = len(AutoTokenizer.from_pretrained(tiny_model))
    part = of_ids([5, size, size + 2, 7], [5, 6, 7])
    by: dict[str, Any] = {"added": 3, "resize_token_embeddings_to_32x": to_32x}
    first = scorer(tiny_model, tmp_path / "first", "loss", **by)
    scores = first.score(part, "x")
    assert np.isfinite(scores).all()
    torch.manual_seed(9)
    np.testing.assert_array_equal(scorer(tiny_model, tmp_path / "second", "loss", **by).score(part, "x"), scores)
    has = first._model.network.get_input_embeddings().num_embeddings
    assert has == (-(-(size + 3) // 32) * 32 if to_32x else size + 3)


def test_another_model_scores(tiny_model: Path, tmp_path: Path) -> None:
    other = another_model(tmp_path / "other", len(AutoTokenizer.from_pretrained(tiny_model)))
    by_other = scorer(tiny_model, tmp_path, "loss", by=other, adapter="qlora", load_in_4bit=True)
    by_other.refuse()
    scores = by_other.score(prepared(), "x")
    np.testing.assert_allclose(scores, one_by_one(other, rows(), "loss"), rtol=1e-4)
    assert scorer(tiny_model, tmp_path, "loss").missing(prepared()).all()
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(other)
    scorer(tiny_model, tmp_path, "loss", by=other, added=2).refuse()


def test_a_model_of_another_tokenizer_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    small = another_model(tmp_path / "small", 100)
    with pytest.raises(ValueError, match="token embeddings") as error:
        scorer(tiny_model, tmp_path, "ifd", by=small, added=2).refuse()
    assert str(error.value) == (
        f"`hbo.scorer_model: {small}` has 100 token embeddings, but the tokenizer of `{tiny_model}` has {len(tokenizer)} "
        f"tokens; name a model of the same tokenizer."
    )
    large = another_model(tmp_path / "large", 1000)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"</s>": 0, "<s>": 1}, unk_token="<s>"))
    ).save_pretrained(large)
    with pytest.raises(
        ValueError, match=r"knows the token `</?s>` as [01], but the tokenizer of .* as [10]; name a model"
    ):
        scorer(tiny_model, tmp_path, "loss", by=large).refuse()
    scorer(tiny_model, tmp_path, "length", by=large).refuse()


def test_a_quantized_model_scores_as_it_is_trained(tiny_model: Path, tmp_path: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    quantized: dict[str, Any] = {"adapter": "qlora", "load_in_4bit": True, "bf16": True, "torch_dtype": torch.bfloat16}
    own = scorer(tiny_model, tmp_path, "loss", **quantized)
    scores = own.score(prepared(), "x")
    assert isinstance(own._model.network.model.layers[0].mlp.up_proj, bitsandbytes.nn.Linear4bit)
    np.testing.assert_allclose(scores, one_by_one(tiny_model, rows(), "loss"), rtol=0.1)
    assert scorer(tiny_model, tmp_path, "loss", bf16=True).missing(prepared()).all()


def test_hours_on_a_cpu_get_a_warning(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = scorer(tiny_model, tmp_path, "ifd", axolotl_config_path="my.yml")
    own.warn_of_time([prepared()])
    assert not warnings_of(caplog)
    seconds = own._model.hours(10**6) * 3600
    assert 1e-3 < seconds < 1e4
    asked: list[int] = []

    def hours(_: ScoringModel, tokens: int) -> float:
        asked.append(tokens)
        return 1234.0

    monkeypatch.setattr(ScoringModel, "hours", hours)
    own.warn_of_time([prepared(), prepared(11)])
    assert asked == [sum(lengths(rows())) + sum(trained(rows())) + sum(lengths(rows(11))) + sum(trained(rows(11)))]
    (warning,) = warnings_of(caplog)
    assert "takes about 1,234 hours for the difficulty `ifd`" in warning
    assert "run `axolotl hbo-score my.yml` on the training machine" in warning
    own.score(prepared(), "x")
    own.warn_of_time([prepared()])
    assert len(warnings_of(caplog)) == 1


def test_scores_that_cannot_be_kept_and_models_that_do_not_fit_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Scorer, "_batch_scores", full)
    with pytest.raises(ValueError, match="does not fit in the memory of `cpu` with batches of 20 tokens; lower"):
        scorer(tiny_model, tmp_path, "loss").score(prepared(), "x")
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("worked before it was refused"))
    own = scorer(tiny_model, tmp_path / "cache", "loss")
    own.refuse()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ValueError, match="which cannot be written"):
        own.score(prepared(), "x")
