"""Known answers: toys whose best mixture is known. Each test accepts the rule, and rejects its opposite and a blind one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from chains import Chain, loss_on, run  # noqa: E402
from known_answers import (  # noqa: E402
    SOURCES,
    TARGET,
    NoisySources,
    Quadratic,
    tandem_on_noise,
    tandem_on_quadratic,
    trained_on_noise,
)

from hbo_plugin.methods import RunFacts, find_settings, make_method  # noqa: E402
from hbo_plugin.methods.parameters import read_settings  # noqa: E402
from hbo_plugin.signals.copies import _Copies  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.training_run import Training
    from hbo_plugin.methods import Method

BEST = np.array([0.5, 0.3, 0.15, 0.05])


def make(name: str, sources: int, *, published: bool = False, **parameters: Any) -> Method:
    """A method on sources of equal size, with one held-out set."""
    settings = read_settings(find_settings(name, published=published), parameters)
    names = tuple(map(str, range(sources)))
    return make_method(name, np.full((sources, 1), 100), settings, RunFacts(names=names, target=TARGET))


def published(step_size: float = 0.03) -> Method:
    """The published form, at a rate that is small for losses of a few nats."""
    return make("tandem", 4, published=True, step_size=step_size)


@pytest.mark.parametrize("alike", [True, False])
def test_tandem_finds_the_mixture_that_serves_the_target(*, alike: bool) -> None:
    toy = Quadratic.of(0, BEST, alike=alike)
    solve = partial(tandem_on_quadratic, toy, rate=0.1, updates=600)

    def distance(weights: NDArray[np.float64]) -> float:
        return float(np.abs(weights - BEST).sum())

    assert distance(solve(published())) < 0.02
    assert distance(solve(published(), sign=-1)) > 0.5
    assert distance(solve(published(), sees=False)) > 0.5


def test_tandem_comes_the_nearer_to_a_target_out_of_reach_the_further_copies_go() -> None:
    """Of what lies between the even mixture and the best one, so much is left: five steps of a copy see no further."""

    def left(toy: Quadratic, **changes: Any) -> float:
        found = tandem_on_quadratic(toy, published(0.01), rate=0.2, updates=600, **changes)
        best, even = toy.least_served, toy.served(np.full(4, 0.25))
        return (toy.served(found) - best) / (even - best)

    toys = [Quadratic.of(seed, BEST, alike=False, away=1.0) for seed in range(1, 5)]
    one, five, twenty = (np.mean([left(toy, copy_steps=steps) for toy in toys]) for steps in (1, 5, 20))
    assert twenty < five < one
    assert five < 0.10
    assert left(toys[0], sign=-1) > 0.9
    assert left(toys[0], sees=False) > 0.9


def falls(weights: NDArray[np.float64]) -> float:
    """The correlation of the ranks of weights with their order, 1 where each is below the one before."""
    ranks = (-weights).argsort().argsort()
    return float(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1])


def test_tandem_ranks_sources_by_the_noise_in_their_labels() -> None:
    runs, even = [], []
    for seed in range(4):
        runs.append(trained_on_noise(NoisySources(seed), make("tandem", SOURCES), tandem_on_noise()))
        even.append(trained_on_noise(NoisySources(seed), make("static", SOURCES), lambda *_: {})[1])
    weights = np.mean([found for found, _ in runs], axis=0)
    ranks = [falls(np.append(found[:5], found[5:].mean())) for found, _ in runs]
    assert weights[5:].sum() <= 0.20
    assert weights[0] >= 0.30
    assert np.mean(ranks) >= 0.75
    assert np.mean([accuracy for _, accuracy in runs]) >= np.mean(even) + 0.10
    for wrong in (tandem_on_noise(sign=-1), tandem_on_noise(sees=False)):
        found, accuracy = trained_on_noise(NoisySources(0), make("tandem", SOURCES), wrong)
        assert found[5:].sum() > 0.4
        assert found[0] < 0.2
        assert accuracy < even[0] + 0.05


def times(signal: str, factor: int, training: Training) -> None:
    """Let a run's method hear so many times a signal."""
    method = training.run.balancer.method
    update = method.update
    method.update = lambda signals: update({**signals, signal: factor * signals[signal]})  # type: ignore[method-assign]


def test_tandem_leaves_sources_that_are_alike_as_they_were(tmp_path: Path) -> None:
    """No equal source is taken for a better one; without its sense of noise, the rule does so."""
    careless = partial(times, "transfer_variance", 0)

    def moved(seed: int, **changes: Any) -> float:
        rng, language = np.random.default_rng(seed), Chain(seed)
        data, held_out = ([language.rows(rng, count) for _ in range(4)] for count in (200, 200))
        training = run(data, held_out, {"method": "tandem", "prior": "uniform"}, tmp_path, seed=seed, **changes)
        return float(np.abs(np.log(4 * training.run.balancer.method.weights())).max())

    found = [moved(seed) for seed in range(3)]
    assert np.mean(found) <= 0.35
    assert max(found) <= 0.7
    assert np.mean([moved(seed, prepare=careless) for seed in range(2)]) > 1.5 * np.mean(found[:2])


def test_tandem_finds_the_source_that_is_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the rows speak the language of the target, and all others another."""

    def trained(seed: int, method: str = "tandem", **changes: Any) -> tuple[float, float]:
        rng, own, other = np.random.default_rng(seed), Chain(seed), Chain(seed + 100)
        data, held_out = ([own.rows(rng, count // 9), other.rows(rng, count)] for count in (540, 1800))
        block = {"method": method, "prior": "proportional"}
        training = run(data, held_out, block, tmp_path, seed=seed, **changes)
        return float(training.run.balancer.method.weights()[0, 0]), loss_on(training, own.rows(rng, 200))

    for seed in range(2):
        weight, loss = trained(seed)
        even = trained(seed, "static")[1]
        assert weight >= 0.5
        assert loss <= even - 0.3
    weight, loss = trained(0, prepare=partial(times, "transfer", -1))
    assert weight < 0.05
    monkeypatch.setattr(_Copies, "_gradient", lambda copies, draw, _: copies._mean(copies._context.rows, draw.rows))
    weight, loss = trained(0)
    assert weight == pytest.approx(0.1)
