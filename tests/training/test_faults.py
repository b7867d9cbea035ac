"""What can go wrong in a run and must not stop it, or must stop it with a clear error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs import load, read_trace, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.data.load import RunData
from hbo_plugin.signals.context import HeldOutRows
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.journal import Journal
from hbo_plugin.training.step_shape import StepShape

NAN, INF = float("nan"), float("inf")


def balancer(sizes: list[list[int]], total: int = 1000, **keys: Any) -> Balancer:
    """A balancer of datasets of these sizes, under `max_epochs: null` unless the keys say otherwise."""
    counts = np.array(sizes)
    names = tuple("abc"[: len(counts)])
    cells = Cells(names, counts, np.ones(counts.sum(), np.int32), np.ones(counts.sum(), np.int32), names)
    config = HBOConfig.model_validate({"max_epochs": None, **keys})
    return Balancer(cells, config, config.make_method(counts, names, seed=3, batch=4), seed=3, steps=total, capacity=1)


def signals(norms: list[float], ratios: list[list[float]]) -> dict[str, Any]:
    norm, ratio = np.array(norms), np.array(ratios)
    published = {"row_gradient_norm": norm, "mean_perplexity_ratio": ratio}
    return {"gradient_norm": norm, "perplexity_ratio": ratio, **published}


@pytest.mark.parametrize("lost", [NAN, INF, -INF])
@pytest.mark.parametrize("published", [False, True])
def test_a_signal_that_is_not_finite_counts_as_not_measured(lost: float, *, published: bool) -> None:
    run, other = (balancer([[50, 50], [100, 100]], levels=2, published=published) for _ in range(2))
    before = run.weights()
    run.update(signals([lost] * 2, [[lost] * 2] * 2), 10)
    np.testing.assert_array_equal(run.weights(), before)
    for each in (run, other):
        each.update(signals([1, 2], [[0.5, 0.9], [0.8, 0.6]]), 20)
    run.update(signals([1, lost], [[0.5, 0.9], [lost, 0.6]]), 30)
    other.update(signals([1, NAN], [[0.5, 0.9], [NAN, 0.6]]), 30)
    np.testing.assert_array_equal(run.weights(), other.weights())
    assert np.isfinite(run.weights()).all()


def test_a_dataset_that_is_exhausted_gives_no_more_rows() -> None:
    """10 rows, twice at most, of 1000: its weight reaches 0, and the others take what is freed."""
    run = balancer([[10], [500]], levels=1, method="hbo", max_epochs=2)
    head = 0
    drawn = np.zeros(2, np.int64)
    while head < 1000:
        rows = run.mixture.fill(head, 100)
        drawn += [int((rows < 10).sum()), int((rows >= 10).sum())]
        run.count(rows)
        head += 100
        run.update(signals([9, 1], [[1], [1]]), head)
    assert drawn[0] <= 20
    assert run.capped.tolist() == [True, False]


def test_a_weight_that_reaches_zero_draws_nothing_and_can_come_back() -> None:
    run = balancer([[50], [50]], levels=1)
    run.mixture.reweight(0, [0, 1])
    assert run.weights().tolist() == [[0], [1]]
    rows = run.mixture.fill(0, 500)
    assert rows.min() >= 50
    run.count(rows)
    shape = StepShape(micro_batch=4, batches=1, steps=250)
    data = RunData(None, run.cells, HeldOutRows(), {"a": "a", "b": "b"})
    journal = Journal(Path(), run, shape, Clock(), data, writes=False)
    assert [journal.scalars(())[f"hbo/{kind}/a"] for kind in ("weight", "epochs", "share/row", "share/token")] == [
        0
    ] * 4
    run.update(signals([1, 1], [[1], [1]]), 500)
    assert run.mixture.fill(500, 100).min() < 50


def test_everything_exhausted_goes_on() -> None:
    run = balancer([[10], [20]], levels=1, max_epochs=1)
    for head in range(30, 301, 30):
        run.count(run.mixture.fill(head - 30, 30))
        run.update(signals([1, 2], [[1], [1]]), head)
    assert run.trained == 300
    assert run.weights().sum() == pytest.approx(1)


def test_a_dataset_of_one_row() -> None:
    run = balancer([[1], [9]], levels=1)
    assert (run.mixture.fill(0, 256) == 0).sum() == pytest.approx(256 * run.weights()[0, 0], abs=1)


def load_data(config: dict[str, Any], folder: Path) -> Any:
    from hbo_plugin.data import load as data

    cfg = load(config, folder)
    return data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


@pytest.mark.axolotl
def test_a_dataset_of_one_row_has_one_level_and_holds_out_none(make_config: Any, tmp_path: Path) -> None:
    loaded = load_data(make_config({"sums": 16, "words": 1}, hbo={"levels": 2}, val_set_size=0.2), tmp_path)
    assert loaded.cells.sizes.tolist() == [[6, 7], [1, 0]]
    assert loaded.judging.sets == {"sums": range(3)}


@pytest.mark.axolotl
@pytest.mark.parametrize("packed", [False, True])
def test_a_dataset_with_fewer_rows_than_levels_trains(make_config: Any, *, packed: bool) -> None:
    config = make_config({"sums": 40, "words": 3}, sample_packing=packed, max_steps=5)
    config["hbo"] |= {"update_every": 2, "levels": 4, "max_epochs": None}
    records = read_trace(train(config))
    weights = [record["weights"]["words"] for record in records if "weights" in record]
    assert len(weights) > 2
    assert all(cells[3] == 0 < min(cells[:3]) for cells in weights)


@pytest.mark.axolotl
def test_a_dataset_that_sequence_len_empties(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        load_data(make_config({"sums": 16, "words": 16}, sequence_len=32), tmp_path)
    assert str(error.value) == (
        "dataset `sums` has no rows: it is empty, or all its rows are longer than `sequence_len` or "
        "without a token to train on; change that, or remove it."
    )


@pytest.mark.axolotl
def test_scores_that_are_all_equal_cut_in_the_order_of_the_data(make_config: Any, tmp_path: Path) -> None:
    config = make_config({"sums": 16}, hbo={"levels": 4, "difficulty": "same"})
    path = Path(config["datasets"][0]["path"])
    same = tmp_path / "same.jsonl"
    same.write_text(path.read_text().replace('"hardness": ', '"same": 1, "hardness": '))
    config["datasets"][0]["path"] = str(same)
    loaded = load_data(config, tmp_path)
    assert loaded.cells.sizes.tolist() == [[4, 4, 4, 4]]
    assert [note for note in loaded.notes if "difficulty" in note] == []
