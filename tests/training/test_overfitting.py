"""When `max_epochs: auto` stops a dataset: how often in simulations, and its arithmetic by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from overfitting_cases import after, rate, stops

from hbo_plugin import options
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data.held_out import judged
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.overfitting import Overfitting, _normal, _rise

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.mark.parametrize("looks", [20, 100])
@pytest.mark.parametrize("rows", [5, 8, 16, 64])
def test_a_set_that_does_not_overfit_is_rarely_stopped(rows: int, looks: int) -> None:
    runs = 2000 // looks
    for rise in (0.0, None):
        assert rate(stops(rise, rows=rows, looks=looks, runs=runs)) <= 2 / runs


def test_a_set_that_overfits_is_stopped_soon() -> None:
    small, large = (stops(0.3, rows=rows, looks=20, runs=50) for rows in (16, 64))
    assert rate(small) > 0.4
    assert rate(large) > 0.95
    assert after(large, 20) <= 11
    assert rate(stops(0.1, rows=256, looks=20, runs=30)) > 0.15


@pytest.mark.parametrize(("t", "freedom", "z"), [(2.998, 7, 2.326), (4.604, 4, 2.576), (2.861, 19, 2.576)])
def test_a_student_is_as_rare_as_a_normal(t: float, freedom: float, z: float) -> None:
    assert _normal(t, freedom) == pytest.approx(z, abs=0.02)
    assert _normal(-t, freedom) == -_normal(t, freedom)


def test_a_rise_by_hand() -> None:
    """Rows of 2 tokens that rise by 1, 2 and 3 nats a token; looks that bend by 0.3 and 0.1."""
    tokens = np.full(3, 2.0)
    of_rows = 2 / (1 / np.sqrt(3))
    of_looks = 2 / (0.2 * np.sqrt(np.pi / 2 / 9 * 2))
    recent = [1.0, 1.0, 1.3, 1.5]
    expected = min(_normal(of_rows, 2), _normal(of_looks, 1))
    assert _rise(np.array([2.0, 4.0, 6.0]), tokens, recent) == pytest.approx(expected)
    assert _rise(np.array([2.0, 4.0, 6.0]), tokens, recent[:3]) == 0
    assert _rise(np.full(3, 2.0), tokens, [1.0, 2.0, 3.0, 4.0]) == np.inf
    assert _rise(np.zeros(3), tokens, [1.0] * 4) == 0


def losses(step: int) -> NDArray[np.float64]:
    """Rows of two sets, of which the first falls until step 10 and then rises."""
    course = np.array([abs(step - 10) / 10 + 1] * 8 + [2 / step] * 6)
    noise = 0.02 * np.random.default_rng(step).standard_normal(14)
    tokens = np.arange(1.0, 15.0)
    return np.stack([(course + noise) * tokens, tokens])


SETS = {"falls": range(8, 14), "rises": range(8)}


def test_a_state_goes_on_as_if_it_had_never_stopped() -> None:
    whole, first = Overfitting(SETS), Overfitting(SETS)
    found = [whole.look(step, losses(step)) for step in range(1, 21)]
    assert sum(map(len, found)) == 1
    (stop,) = whole.stopped.values()
    assert list(whole.stopped) == ["rises"]
    assert 10 <= stop.lowest_step < stop.step < 20
    assert stop.lowest < stop.loss
    assert whole.watches
    for step in range(1, 13):
        first.look(step, losses(step))
    second = Overfitting(SETS)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [second.look(step, losses(step)) for step in range(13, 21)] == found[12:]
    assert second.state_dict() == whole.state_dict()
    third = Overfitting({"rises": range(8)})
    third.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert third.stopped == whole.stopped
    assert not third.watches


def test_a_loss_that_is_not_finite_is_no_look() -> None:
    watch, seen = Overfitting(SETS), Overfitting(SETS)
    for step in range(1, 21):
        found = losses(step)
        seen.look(step, found)
        watch.look(step, found)
        found[0, 3] = np.nan
        watch.look(step, np.where(np.arange(14) < 8, found, np.nan))
    assert watch.state_dict() == seen.state_dict()


def test_other_held_out_rows_are_refused() -> None:
    watch = Overfitting({"rises": range(8)})
    watch.look(1, losses(1))
    with pytest.raises(ValueError, match="compares") as error:
        Overfitting({"rises": range(5)}).load_state_dict(watch.state_dict())
    assert str(error.value) == (
        "the checkpoint compares 8 held-out rows of dataset `rises` with themselves, but this run has 5; "
        "restore its held-out set, or give a number as `hbo.max_epochs`."
    )


def test_where_auto_stands_for_a_number() -> None:
    names, auto = ["a", "b", "c"], HBOConfig.model_validate({"max_epochs": "auto"})
    assert auto.auto_epochs(names) == names
    assert auto.epochs_of(names, 1, watched=["b"]) == [4, np.inf, 4]
    some = HBOConfig.model_validate({"max_epochs": {"a": "auto", "b": 3}})
    assert some.auto_epochs(names) == ["a"]
    assert some.epochs_of(names, 6, watched=["a"]) == [np.inf, 3, 6]
    assert some.epochs_of(names, 6) == [6, 3, 6]
    shares = HBOConfig.model_validate({"weights": {"a": 1, "b": 1, "c": 1}})
    assert shares.auto_epochs(names) == []
    assert shares.epochs_of(names, 6, watched=names) == [np.inf] * 3
    assert HBOConfig().auto_epochs(names) == []


def test_sets_that_are_too_small_are_not_judged() -> None:
    sets = {"a": range(8), "b": range(7)}
    found, notes = judged(["a", "b", "c"], sets, {"a": "a", "b": "b"})
    assert found == ["a"]
    (note,) = notes
    assert note == (
        "`max_epochs: auto` cannot judge `b`, `c`, with fewer than 8 held-out rows of its own, so the default of "
        "`max_epochs` holds; `hbo.val_set_size` sets the number of rows"
    )
    assert judged(["a"], sets, {"a": "a"}) == (["a"], [])


@pytest.mark.parametrize(
    ("cfg", "why"),
    [
        ({"deepspeed": "zero2.json"}, "`deepspeed` spreads the model over ranks, where hbo cannot run forward passes"),
        ({"fsdp_config": {}, "fsdp": ["full_shard"]}, "`fsdp` spreads the model over ranks, where hbo cannot run"),
        ({"use_dft": True}, "`use_dft` changes the loss that is trained on, of which the next-token loss says little"),
    ],
)
def test_what_cannot_be_measured_is_refused(cfg: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match="max_epochs: auto") as error:
        options.check_watching(cfg)
    assert str(error.value).startswith(f"`hbo.max_epochs: auto` looks at held-out losses, but {why}")
    assert str(error.value).endswith(", or give a number.")
    options.check_watching({"fsdp_config": {"reshard": True}, "fsdp_version": 2})


def test_what_is_stopped_gives_no_more_rows_until_nothing_is_left() -> None:
    sizes, names = np.array([[10, 10], [20, 20]]), ("a", "b")
    lengths = np.ones(60, np.int32)
    cells = Cells(names, sizes, lengths, lengths, names)
    config = HBOConfig.model_validate({"method": "static", "prior": "uniform", "max_epochs": "auto", "levels": 2})
    method = config.make_method(sizes, names, seed=3, batch=4)
    balancer = Balancer(cells, config, method, seed=3, steps=320, capacity=4, watched=names)
    assert not balancer.capped.any()
    balancer.stop(["a"])
    balancer.reweigh(512)
    assert balancer.weights().tolist() == [[0, 0], [0.5, 0.5]]
    assert balancer.capped.tolist() == [True, True, False, False]
    assert balancer.mixture.counts(512, 512).tolist() == [0, 0, 256, 256]
    assert not balancer.used_up
    balancer.stop(["b"])
    balancer.reweigh(1024)
    assert balancer.weights().tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert balancer.used_up
