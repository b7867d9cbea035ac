"""Signals from training batches: each against a calculation of its own, packed or not, and resumed in between."""

import json
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from predicted import predicted  # noqa: E402
from safetensors.torch import load, save  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.methods import RunFacts, find_settings, make_method  # noqa: E402
from hbo_plugin.methods.parameters import read_settings  # noqa: E402
from hbo_plugin.signals import reuse  # noqa: E402
from hbo_plugin.signals.context import Context  # noqa: E402
from hbo_plugin.signals.reuse import Reuse  # noqa: E402
from hbo_plugin.signals.sources import Batch  # noqa: E402
from hbo_plugin.signals.table import SIGNALS  # noqa: E402

VOCABULARY = 250
WIDTH = 4
"""Of the layer before the logits. So small a layer's gradients are kept whole."""
SCALE = 0.37
"""What the loss is multiplied by before the backward pass."""
SIZES = np.array([[3, 3], [2, 4]])
BF16 = partial(torch.autocast, "cpu", torch.bfloat16)
Sequence = list[int]
REUSABLE = tuple(name for name, signal in SIGNALS.items() if "reuse" in signal.sources)


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    made = []
    for index in range(12):
        ids = rng.integers(0, VOCABULARY, 4 + index % 4).tolist()
        made.append({"input_ids": ids, "labels": [-100, -100, *ids[2:]]})
    return made


class Model(nn.Module):
    """Logits from what the tokens are embedded as; the layer between them is trained."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embed = nn.Embedding(VOCABULARY + 1, WIDTH).requires_grad_(requires_grad=False)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        with torch.no_grad():
            self.embed.weight.copy_(torch.randn((VOCABULARY + 1, WIDTH), generator=generator))
            self.head.weight.copy_(2 * torch.randn((VOCABULARY, WIDTH), generator=generator))

    def forward(self, ids: Any) -> Any:
        return self.head(self.embed(ids))


def observer(rows: list[dict[str, Any]], names: tuple[str, ...] = REUSABLE, *, side: str = "right") -> Reuse:
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    trainer = SimpleNamespace(processing_class=SimpleNamespace(padding_side=side), model=Model())
    cells = Cells(("a", "b"), SIZES, lengths, lengths, ("", ""))
    return Reuse(names, Context(trainer, cells, passes=False, gradient_rows=8))


@dataclass
class Trained:
    """A micro-batch: its tokens and labels, int64[sequences, tokens], and the rows in each sequence."""

    ids: Any
    labels: Any
    rows: list[Sequence]


def batch(rows: list[dict[str, Any]], sequences: list[Sequence], *, left: bool = False) -> Trained:
    """Sequences of one or more rows each, padded with a token that is in no row."""
    length = 2 + max(sum(len(rows[row]["input_ids"]) for row in sequence) for sequence in sequences)
    ids = torch.full((len(sequences), length), VOCABULARY)
    labels = torch.full((len(sequences), length), -100)
    for index, sequence in enumerate(sequences):
        tokens, targets = ([x for row in sequence for x in rows[row][key]] for key in ("input_ids", "labels"))
        place = slice(length - len(tokens), length) if left else slice(len(tokens))
        ids[index, place], labels[index, place] = torch.tensor(tokens), torch.tensor(targets)
    return Trained(ids, labels, sequences)


def train(
    seen: Reuse,
    trained: Trained,
    *,
    spoil: tuple[int, int] | None = None,
    still: bool = False,
    apart: bool = False,
) -> None:
    """Run a micro-batch forward and backward.

    The logits at one place may be spoilt, all be made equal, or stand apart from the loss.
    """
    model = seen._context.model
    with seen.watching():
        logits = model(trained.ids) * (0 if still else 1)
        if spoil:
            hole = torch.zeros((*logits.shape[:2], 1))
            hole[spoil] = float("nan")
            logits = logits + hole
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), trained.labels[:, 1:].flatten())
        outputs = {"loss": loss, "logits": logits + 0} if apart else {"logits": logits}
        seen.observe(Batch({}, outputs, trained.rows, predicted(seen._context, logits, trained.labels, trained.rows)))
        (SCALE * loss).backward()
    model.zero_grad()
    seen.gather()


def expected(rows: list[dict[str, Any]], drawn: list[int]) -> dict[str, Any]:
    """Every signal from rows one by one, which are all of one step."""
    model = Model().double()
    cell = np.searchsorted(np.cumsum(SIZES), np.arange(12), side="right")
    losses: list[list[float]] = [[] for _ in range(4)]
    entropies: list[list[float]] = [[] for _ in range(4)]
    gradients: list[list[Any]] = [[], []]
    for row in drawn:
        answer = slice(2, None)
        scores = model(torch.tensor(rows[row]["input_ids"]))[:-1].log_softmax(1)[1:]
        each = -scores.gather(1, torch.tensor(rows[row]["labels"][answer])[:, None])[:, 0]
        losses[cell[row]] += each.tolist()
        entropies[cell[row]] += (-(scores.exp() * scores).sum(1)).tolist()
        (gradient,) = torch.autograd.grad(each.sum(), [model.head.weight])
        gradients[cell[row] // 2].append((gradient.flatten(), len(each)))
    norms, variances = [], []
    for vectors in gradients:
        count, tokens = len(vectors), sum(tokens for _, tokens in vectors)
        each = torch.stack([vector / (tokens / count) for vector, _ in vectors])
        products = each @ each.T
        square = max(float(products.sum() - products.trace()) / max(1, count * (count - 1)), 0)
        variances.append(max(float(products.trace()) / count - square, 0))
        norms.append((square + variances[-1] / 6) ** 0.5)  # a dataset has 6 rows, and 8 are asked for
    mean = [[np.mean(values) if values else np.nan for values in all_] for all_ in (losses, entropies)]
    return {
        "loss": np.array(mean[0]).reshape(2, 2),
        "entropy": np.array(mean[1]).reshape(2, 2),
        "gradient_norm": np.array(norms),
        "gradient_variance": np.array(variances),
    }


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    "sequences",
    [[[0], [7], [4], [9], [11], [0]], [[0, 7, 4], [9, 11, 0]], [[0, 0, 7], [4, 9], [11]]],
    ids=["rows", "packed", "uneven"],
)
@pytest.mark.parametrize(
    ("precision", "agreement"), [(nullcontext, 1e-4), pytest.param(BF16, 0.03, marks=pytest.mark.bf16, id="bf16")]
)
def test_signals_are_those_of_the_rows(
    rows: list[dict[str, Any]], sequences: list[Sequence], precision: Any, agreement: float, *, left: bool
) -> None:
    seen = observer(rows, side="left" if left else "right")
    with precision():
        train(seen, batch(rows, sequences, left=left))
    signals = seen.measure(1)
    assert signals.keys() == set(REUSABLE)
    for name, values in expected(rows, [row for sequence in sequences for row in sequence]).items():
        np.testing.assert_allclose(signals[name], values, rtol=agreement, err_msg=name)
    assert signals["perplexity_ratio"].shape == (2, 2)
    np.testing.assert_array_equal(np.isnan(signals["perplexity_ratio"]), np.isnan(signals["loss"]))
    assert np.isnan(seen.measure(2)["loss"]).all()


def test_losses_are_those_of_the_answers_since_they_were_last_asked_for(rows: list[dict[str, Any]]) -> None:
    seen, other = observer(rows, ()), observer(rows)
    for each in (seen, other):  # whether signals are measured or not, and in between or not
        train(each, batch(rows, [[0], [7], [4]]))
        each.measure(1)
        train(each, batch(rows, [[0, 9]]))
    trained = (0, 4, 0, 7, 9)
    cells = np.searchsorted(np.cumsum(SIZES), trained, side="right")
    both = [[row, 11 if row < 6 else 0] for row in trained]  # one of each dataset, in cells of their own
    losses = [expected(rows, pair)["loss"].flat[cell] for pair, cell in zip(both, cells, strict=True)]
    tokens = [len(rows[row]["labels"]) - 2 for row in trained]
    right = {"a": np.average(losses[:3], weights=tokens[:3]), "b": np.average(losses[3:], weights=tokens[3:])}
    assert seen.take_means()["loss"] == pytest.approx(right, rel=1e-5)
    assert other.take_means()["loss"] == pytest.approx(right, rel=1e-5)
    assert seen.take_means() == {"loss": {}}
    train(seen, batch(rows, [[9]]))
    assert seen.take_means()["loss"] == pytest.approx({"b": losses[4]}, rel=1e-5)


def test_losses_that_a_batch_does_not_show_are_left_out(rows: list[dict[str, Any]]) -> None:
    seen, trained = observer(rows, ()), batch(rows, [[0]])
    with seen.watching():
        seen.observe(Batch({}, {"loss": 1.0}, trained.rows))
    seen.gather()
    assert seen.take_means() == {"loss": {}}


def test_rows_of_a_batch_may_come_as_one_line(rows: list[dict[str, Any]]) -> None:
    """As under `batch_flattening`: the loader has rows one by one, the model has them one after the other."""
    apart, flattened = observer(rows), observer(rows)
    one_line = batch(rows, [[0, 7, 4]])
    train(apart, one_line)
    train(flattened, replace(one_line, rows=[[0], [7], [4]]))
    for (name, one), other in zip(apart.measure(1).items(), flattened.measure(1).values(), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_gradients_are_scaled_by_the_loss_where_logits_stand_apart_from_it(rows: list[dict[str, Any]]) -> None:
    """As under ZeRO 3."""
    seen, drawn = observer(rows), [0, 7, 4, 9]
    train(seen, batch(rows, [[row] for row in drawn]), apart=True)
    np.testing.assert_allclose(seen.measure(1)["gradient_norm"], expected(rows, drawn)["gradient_norm"], rtol=1e-4)


def test_a_perplexity_ratio_is_relative_to_the_first_measurement(rows: list[dict[str, Any]]) -> None:
    """Where the model cannot be run before."""
    seen = observer(rows, ("perplexity_ratio",))
    trained = batch(rows, [[0], [7]])
    train(seen, trained)
    first = seen.measure(1)["perplexity_ratio"]
    np.testing.assert_array_equal(first[np.isfinite(first)], [1, 1])
    train(seen, trained, still=True)
    later = seen.measure(2)["perplexity_ratio"]
    loss = expected(rows, [0, 7])["loss"]
    np.testing.assert_allclose(later, np.exp(np.log(VOCABULARY) - loss), rtol=1e-5)


def test_what_is_not_finite_is_left_out_and_counted(rows: list[dict[str, Any]]) -> None:
    seen = observer(rows)
    train(seen, batch(rows, [[0], [1], [7], [8]]), spoil=(0, 1))
    signals = seen.measure(1)
    assert seen.dropped == 1
    assert all(not np.isinf(values).any() for values in signals.values())
    assert np.isnan(signals["gradient_norm"][0])  # one row is left, and no other to pair it with
    np.testing.assert_allclose(signals["gradient_norm"][1], expected(rows, [1, 2, 7, 8])["gradient_norm"][1], rtol=1e-4)


def test_it_resumes_in_mid_window(rows: list[dict[str, Any]]) -> None:
    whole, killed = observer(rows), observer(rows)
    parts = [batch(rows, sequences) for sequences in ([[0], [7]], [[4, 5], [9, 10]], [[1], [2]])]
    for each in (whole, killed):
        train(each, parts[0])
        each.measure(1)
        train(each, parts[1], spoil=(0, 2))
    resumed = observer(rows)
    resumed.load_state_dict(json.loads(json.dumps(killed.state_dict())))
    resumed.load_tensors(load(save(killed.tensors())))
    assert resumed.dropped == 1
    for each in (whole, resumed):
        train(each, parts[2])
    signals = resumed.measure(2)
    for name, values in whole.measure(2).items():
        np.testing.assert_array_equal(values, signals[name], err_msg=name)


def test_sums_of_other_signals_are_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        observer(rows, ("entropy",)).load_tensors(load(save(observer(rows).tensors())))
    assert str(error.value) == (
        "the checkpoint has gradients of shape (2, 1027) from training batches, but this run has (0, 1027); "
        "set `hbo.signals`, `hbo.method` and `hbo.reward` as they were, or start afresh."
    )


def test_a_batch_without_logits_is_refused(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(RuntimeError) as error:
        observer(rows).observe(Batch({}, {"loss": 1.0}, [[0]]))
    assert str(error.value) == (
        "the loss computation gave no logits, which `hbo.signals: reuse` looks at; "
        "set `hbo.signals: probe`, or turn the fused loss off."
    )


def test_a_loss_that_is_not_of_the_logits_is_refused(rows: list[dict[str, Any]]) -> None:
    seen, trained = observer(rows), batch(rows, [[0]])
    logits = seen._context.model(trained.ids)
    with pytest.raises(RuntimeError) as error, seen.watching():
        seen.observe(Batch({}, {"logits": logits}, [[0]], predicted(seen._context, logits, trained.labels, [[0]])))
    assert str(error.value) == (
        "no gradient came back to the logits, from which `hbo.signals: reuse` measures; "
        "set `hbo.signals: probe`, or remove what computes another loss."
    )


def test_long_batches_are_looked_at_in_parts(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from hbo_plugin.signals import tokens

    whole, parts = observer(rows), observer(rows)
    train(whole, batch(rows, [[0, 7, 4], [9, 11, 0]]))
    monkeypatch.setattr(tokens, "_CHUNK", 2 * VOCABULARY)
    monkeypatch.setattr(reuse, "_MOST_PENDING", 0)
    train(parts, batch(rows, [[0, 7, 4], [9, 11, 0]]))
    signals = parts.measure(1)
    for name, values in whole.measure(1).items():
        np.testing.assert_allclose(values, signals[name], rtol=1e-5, err_msg=name)


def test_pike_takes_datasets_with_the_same_gradients_alike_whatever_their_sizes(rows: list[dict[str, Any]]) -> None:
    """It takes the noise off that a norm has by the rows it is one of: the source must say a norm of as many."""
    sizes = np.array([[500], [8]])
    lengths = np.full(508, 4, np.int32)
    trainer = SimpleNamespace(processing_class=SimpleNamespace(padding_side="right"), model=Model())
    source = Reuse(
        ("gradient_norm", "gradient_variance"), Context(trainer, Cells(("a", "b"), sizes, lengths, lengths, ("", "")))
    )
    for first in (0, 500):
        seen = batch(rows, [[0], [0], [0], [0], [1], [1], [1], [2]])  # less noise than gradient
        train(source, replace(seen, rows=[[first + row] for row in range(8)]))
    settings = read_settings(find_settings("pike"), {})
    pike = make_method("pike", sizes, settings, RunFacts())
    pike.update(source.measure(1))
    np.testing.assert_allclose(pike.weights()[:, 0], 0.5, rtol=1e-9)


@pytest.mark.axolotl
def test_training_batches_and_probes_train_alike(make_config: Any, tmp_path: Path) -> None:
    """With the weights held, what is measured, and where, changes no loss; and both see the same model."""
    from runs import history, lines, read_trace, train

    hbo = {
        "levels": 2,
        "floor": 1.0,
        "update_every": 6,
        "record_rows": True,
        "reward": {"global": "loss", "local": "loss"},
    }
    runs = {
        signals: train(make_config(hbo={**hbo, "signals": signals}, output_dir=str(tmp_path / signals)))
        for signals in ("reuse", "probe")
    }
    for key in ("loss", "grad_norm"):
        assert history(runs["reuse"], key) == history(runs["probe"], key)
    assert lines(runs["reuse"] / "hbo_rows.jsonl") == lines(runs["probe"] / "hbo_rows.jsonl")
    found = [
        next(record for record in read_trace(run) if record["event"] == "update")["signals"] for run in runs.values()
    ]
    assert found[0].keys() == found[1].keys() == {"loss"}
    assert found[0]["loss"].keys() == found[1]["loss"].keys() == {"sums", "words", "tales"}
    for name, levels in found[0]["loss"].items():
        assert levels == pytest.approx(found[1]["loss"][name], rel=0.2), name
