"""Signals from training batches: each against a calculation of its own, packed or not, and resumed in between."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.signals import REUSABLE, Reuse, reuse  # noqa: E402

VOCABULARY = 300
SIZES = np.array([[3, 3], [2, 4]])
Line = list[int]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    made = []
    for index in range(12):
        ids = rng.integers(0, VOCABULARY, 4 + index % 4).tolist()
        made.append({"input_ids": ids, "labels": [-100, -100, *ids[2:]]})
    return made


def observer(rows: list[dict[str, Any]], wanted: tuple[str, ...] = REUSABLE, *, side: str = "right") -> Reuse:
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    trainer = SimpleNamespace(
        args=SimpleNamespace(world_size=1), processing_class=SimpleNamespace(padding_side=side), accelerator=None
    )
    return Reuse(trainer, Cells(("a", "b"), SIZES, lengths, ("", "")), wanted, gradient_rows=8)


def logits_of(row: dict[str, Any]) -> Any:
    """What a model might say: a function of the row's own tokens."""
    generator = torch.Generator().manual_seed(sum(row["input_ids"]))
    return 3 * torch.randn((len(row["input_ids"]), VOCABULARY), generator=generator)


def batch(rows: list[dict[str, Any]], lines: list[Line], *, left: bool = False) -> tuple[Any, Any, list[Line]]:
    """Logits and labels of lines of one or more rows each, padded with noise."""
    length = 2 + max(sum(len(rows[row]["input_ids"]) for row in line) for line in lines)
    logits = torch.randn((len(lines), length, VOCABULARY), generator=torch.Generator().manual_seed(0))
    labels = torch.full((len(lines), length), -100)
    for index, line in enumerate(lines):
        said = torch.cat([logits_of(rows[row]) for row in line])
        asked = torch.tensor([label for row in line for label in rows[row]["labels"]])
        place = slice(length - len(asked), length) if left else slice(len(asked))
        logits[index, place], labels[index, place] = said, asked
    return logits, labels, lines


def expected(rows: list[dict[str, Any]], drawn: list[int]) -> dict[str, Any]:
    """Every signal from rows one by one, without the sketch."""
    cell = np.searchsorted(np.cumsum(SIZES), np.arange(12), side="right")
    losses: list[list[float]] = [[] for _ in range(4)]
    entropies: list[list[float]] = [[] for _ in range(4)]
    gradients: list[list[Any]] = [[], []]
    for row in drawn:
        scores = logits_of(rows[row]).double().log_softmax(1)
        gradient = torch.zeros(VOCABULARY, dtype=torch.float64)
        for place, target in enumerate(rows[row]["labels"][1:]):
            if target != -100:
                losses[cell[row]].append(-float(scores[place, target]))
                entropies[cell[row]].append(float(-(scores[place].exp() * scores[place]).sum()))
                gradient += scores[place].exp()
                gradient[target] -= 1
        gradients[cell[row] // 2].append((gradient, len(rows[row]["labels"]) - 2))
    norms, variances = [], []
    for vectors in gradients:
        count, tokens = len(vectors), sum(tokens for _, tokens in vectors)
        each = torch.stack([vector / (tokens / count) for vector, _ in vectors])
        variance = float((each - each.mean(0)).square().sum() / (count - 1))
        square = float(each.mean(0).square().sum()) - variance / count
        variances.append(variance)
        norms.append((max(square, 0) + variance / 8) ** 0.5)
    mean = [[np.mean(values) if values else np.nan for values in all_] for all_ in (losses, entropies)]
    return {
        "loss": np.array(mean[0]).reshape(2, 2),
        "entropy": np.array(mean[1]).reshape(2, 2),
        "gradient_norm": np.array(norms),
        "gradient_variance": np.array(variances),
    }


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(
    "lines",
    [[[0], [7], [4], [9], [11], [0]], [[0, 7, 4], [9, 11, 0]], [[0, 0, 7], [4, 9], [11]]],
    ids=["rows", "packed", "uneven"],
)
def test_signals_are_those_of_the_rows(
    rows: list[dict[str, Any]], lines: list[Line], monkeypatch: pytest.MonkeyPatch, *, left: bool
) -> None:
    """The sketch is exact where it has as many numbers as the vocabulary."""
    monkeypatch.setattr(reuse, "SKETCH", VOCABULARY)
    seen = observer(rows, side="left" if left else "right")
    seen.observe(*batch(rows, lines, left=left))
    signals = seen.measure()
    for name, values in expected(rows, [row for line in lines for row in line]).items():
        np.testing.assert_allclose(signals[name], values, rtol=1e-4, err_msg=name)
    assert signals["perplexity_ratio"].shape == (2, 2)
    np.testing.assert_array_equal(np.isnan(signals["perplexity_ratio"]), np.isnan(signals["loss"]))
    assert np.isnan(seen.measure()["loss"]).all()


def test_a_sketch_keeps_norms(rows: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    gradients = torch.randn((50, 5000)) * torch.rand(5000)
    sketched = observer(rows)._sketched(gradients)
    assert sketched.shape == (50, reuse.SKETCH)
    ratio = sketched.norm(dim=1) / gradients.norm(dim=1)
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 0.04
    torch.testing.assert_close(observer(rows)._sketched(gradients), sketched)


def test_a_perplexity_ratio_is_relative_to_the_first_measurement(rows: list[dict[str, Any]]) -> None:
    seen = observer(rows, ("perplexity_ratio",))
    logits, labels, lines = batch(rows, [[0], [7]])
    seen.observe(logits, labels, lines)
    first = seen.measure()["perplexity_ratio"]
    np.testing.assert_array_equal(first[np.isfinite(first)], [1, 1])
    seen.observe(0 * logits, labels, lines)
    later = seen.measure()["perplexity_ratio"]
    loss = expected(rows, [0, 7])["loss"]
    np.testing.assert_allclose(later, np.exp(np.log(VOCABULARY) - loss), rtol=1e-5)


def test_what_is_not_finite_is_left_out_and_counted(rows: list[dict[str, Any]]) -> None:
    seen = observer(rows)
    logits, labels, lines = batch(rows, [[0], [1], [7], [8]])
    logits[0, 1] = float("nan")
    seen.observe(logits, labels, lines)
    signals = seen.measure()
    assert seen.dropped == 1
    assert all(not np.isinf(values).any() for values in signals.values())
    assert np.isnan(signals["gradient_norm"][0])  # one row is left, and its variance is unknown
    assert np.isfinite(signals["gradient_norm"][1])


def test_it_resumes_in_mid_window(rows: list[dict[str, Any]]) -> None:
    whole, killed = observer(rows), observer(rows)
    parts = [batch(rows, lines) for lines in ([[0], [7]], [[4, 5], [9, 10]], [[1], [2]])]
    for each in (whole, killed):
        each.observe(*parts[0])
        each.measure()
        each.observe(*parts[1])
        each.settle()
    resumed = observer(rows)
    resumed.load_state_dict(json.loads(json.dumps(killed.state_dict())))
    for each in (whole, resumed):
        each.observe(*parts[2])
    for (name, one), other in zip(whole.measure().items(), resumed.measure().values(), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=name)
    fewer = observer(rows, ("entropy",))
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        fewer.load_state_dict({**killed.state_dict()})
    assert str(error.value) == (
        "the checkpoint has 2 sums of gradients from training batches, and this run has 0: "
        "set `hbo.signals`, `hbo.method` and `hbo.reward` as they were, or start afresh."
    )


def test_long_batches_are_looked_at_in_parts(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    from hbo_plugin.signals import passes

    whole, parts = observer(rows), observer(rows)
    whole.observe(*batch(rows, [[0, 7, 4], [9, 11, 0]]))
    monkeypatch.setattr(passes, "_CHUNK", 2 * VOCABULARY)
    monkeypatch.setattr(reuse, "_MOST_PENDING", 0)
    parts.observe(*batch(rows, [[0, 7, 4], [9, 11, 0]]))
    for (name, one), other in zip(whole.measure().items(), parts.measure().values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, err_msg=name)


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
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert value == pytest.approx(found[1][name], rel=0.2), name
