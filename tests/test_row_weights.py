"""Row weights on rows whose right weights are known: four in ten labels are wrong, and a few held-out rows are right."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.row_weights.base import SeenRows
from hbo_plugin.row_weights.dwm import Dwm, DwmSettings
from hbo_plugin.row_weights.network import NETWORK_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Labels = NDArray[np.int64]

INPUTS, CLASSES, HIDDEN = 20, 10, 64
ROWS, HELD_OUT, TESTED = 3000, 300, 4000
BATCH, STEPS = 64, 800
WRONG = 0.4
SEEDS = range(4)


class Model:
    """A classifier of two hidden layers with ReLU, and its AdamW."""

    def __init__(self, rng: np.random.Generator, hidden: int) -> None:
        shapes = pairwise((INPUTS, hidden, hidden, CLASSES))
        self._layers = [rng.uniform(-1, 1, size=(into + 1, out)) / into**0.5 for into, out in shapes]
        self._moments = [np.zeros((2, *layer.shape)) for layer in self._layers]
        self._steps = 0

    def inputs(self, x: Array) -> tuple[list[Array], Array]:
        """What goes into each layer, with a 1 for its bias, and the logarithms of the probabilities of classes."""
        inputs: list[Array] = []
        for layer in self._layers:
            inputs.append(np.hstack([np.maximum(x, 0) if inputs else x, np.ones((len(x), 1))]))
            x = inputs[-1] @ layer
        return inputs, x - np.logaddexp.reduce(x, axis=1, keepdims=True)

    def output_gradients(self, inputs: Sequence[Array], logs: Array, labels: Labels) -> list[Array]:
        """Of the loss of each row by what comes out of each layer."""
        found = [np.exp(logs) - np.eye(CLASSES)[labels]]
        for layer, given in zip(self._layers[:0:-1], inputs[:0:-1], strict=True):
            found.append((found[-1] @ layer[:-1].T) * (given[:, :-1] > 0))
        return found[::-1]

    def step(self, gradients: Sequence[Array], rate: float = 3e-3, decay: float = 0.01) -> None:
        """Take one step of AdamW."""
        self._steps += 1
        kept = np.array([0.9, 0.999])[:, None, None]
        for number, gradient in enumerate(gradients):
            moments = kept * self._moments[number] + (1 - kept) * np.stack([gradient, gradient**2])
            first, second = moments / (1 - kept**self._steps)
            self._moments[number] = moments
            self._layers[number] = (1 - rate * decay) * self._layers[number] - rate * first / (np.sqrt(second) + 1e-8)


class Mislabelled:
    """Points that a random network has labelled, some of them wrongly, and a model that trains on them."""

    def __init__(self, seed: int, wrong: float, hidden: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._teacher = [self.rng.normal(size=shape) / shape[0] ** 0.5 for shape in ((INPUTS, 32), (32, CLASSES))]
        self.x, self.labels = self._labelled(ROWS)
        self.wrong = self.rng.random(ROWS) < wrong
        self.labels[self.wrong] += self.rng.integers(1, CLASSES, size=self.wrong.sum())
        self.labels %= CLASSES
        self.held_out, self.tested = self._labelled(HELD_OUT), self._labelled(TESTED)
        self.model = Model(self.rng, hidden)

    def _labelled(self, rows: int) -> tuple[Array, Labels]:
        x = self.rng.normal(size=(rows, INPUTS))
        return x, (np.tanh(2 * x @ self._teacher[0]) @ self._teacher[1]).argmax(axis=1)

    def gradients(self, x: Array, labels: Labels) -> tuple[list[Array], list[Array], SeenRows]:
        """What goes into the layers, the gradients of what comes out, and what row weights see of the rows."""
        inputs, logs = self.model.inputs(x)
        zeros = np.zeros(len(x), np.int64)
        seen = SeenRows(
            row=zeros,
            dataset=zeros,
            level=zeros,
            tokens=zeros + 1,
            loss=-logs[np.arange(len(x)), labels],
            entropy=-(np.exp(logs) * logs).sum(axis=1),
        )
        return inputs, self.model.output_gradients(inputs, logs, labels), seen

    def influence(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> Array:
        """Product of each row's gradient with that of the loss of some held-out rows."""
        some = self.rng.integers(HELD_OUT, size=BATCH)
        x, labels = self.held_out
        into, out, _ = self.gradients(x[some], labels[some])
        served = [given.T @ gradient for given, gradient in zip(into, out, strict=True)]
        each = [
            ((given @ gain) * gradient).sum(axis=1)
            for given, gain, gradient in zip(inputs, served, outputs, strict=True)
        ]
        return np.asarray(np.sum(each, axis=0))

    def accuracy(self) -> float:
        x, labels = self.tested
        return float((self.model.inputs(x)[1].argmax(axis=1) == labels).mean())

    def found_by(self, dwm: Dwm) -> float:
        """How often a right row weighs more than a wrong one, where a tie is one half; of all rows, when the run has ended."""
        weights = dwm.weights(self.gradients(self.x, self.labels)[2])
        right, wrong = weights[~self.wrong], weights[self.wrong]
        return float(stats.mannwhitneyu(right, wrong).statistic / (len(right) * len(wrong)))


class Ended(NamedTuple):
    """A run that has ended."""

    accuracy: float
    auc: float
    dwm: Dwm


@cache
def uniform(seed: int, wrong: float = WRONG, hidden: int = HIDDEN) -> float:
    """The accuracy where all rows weigh 1."""
    return trained(seed, wrong, hidden, start=STEPS - 1).accuracy


def trained(
    seed: int,
    wrong: float = WRONG,
    hidden: int = HIDDEN,
    told: Callable[[Array], Array] = np.positive,
    **settings: Any,
) -> Ended:
    """Train a model on rows that the product's DWM weighs, with its defaults; it is `told` something of their influence."""
    toy = Mislabelled(seed, wrong, hidden)
    dwm = Dwm(RunFacts(seed=seed), DwmSettings(**settings), STEPS, 1)
    for step in range(STEPS):
        rows = toy.rng.integers(ROWS, size=BATCH)
        inputs, outputs, seen = toy.gradients(toy.x[rows], toy.labels[rows])
        dwm.begin_step(step, rows)
        weights = dwm.weights(seen)
        if dwm.refreshes(step):
            dwm.refresh(seen, told(toy.influence(inputs, outputs)))
        dwm.end_step(step, seen, weights)
        toy.model.step(
            [given.T @ (weights[:, None] * gradient) / BATCH for given, gradient in zip(inputs, outputs, strict=True)]
        )
    return Ended(toy.accuracy(), toy.found_by(dwm) if wrong else np.nan, dwm)


def test_it_finds_the_wrong_labels_and_the_model_gains() -> None:
    runs = [trained(seed) for seed in SEEDS]
    assert np.mean([run.auc for run in runs]) >= 0.75
    assert np.mean([run.accuracy for run in runs]) >= np.mean([uniform(seed) for seed in SEEDS]) + 0.015


def test_influence_of_the_wrong_sign_serves_the_wrong_rows() -> None:
    for seed in SEEDS[:2]:
        run = trained(seed, told=np.negative)
        assert run.auc <= 0.5
        assert run.accuracy <= uniform(seed) - 0.015


def test_influence_of_other_rows_tells_nothing() -> None:
    """Then a network comes to prefer some rows or others, by chance."""
    seeds = range(6)
    runs = [trained(seed, told=np.random.default_rng(100 + seed).permutation) for seed in seeds]
    assert np.mean([run.auc for run in runs]) < 0.7
    assert np.mean([run.accuracy for run in runs]) < np.mean([uniform(seed) for seed in seeds]) + 0.015


def test_where_all_labels_are_right_it_costs_little() -> None:
    found = np.mean([trained(seed, wrong=0.0).accuracy for seed in SEEDS])
    assert found >= np.mean([uniform(seed, wrong=0.0) for seed in SEEDS]) - 0.01


def test_a_finished_network_serves_other_data_and_another_model(tmp_path: Path) -> None:
    path, others = tmp_path / NETWORK_FILE, (10, 11)
    trained(0).dwm.save(tmp_path)
    runs = [trained(seed, hidden=128, path=str(path)) for seed in others]
    assert np.mean([run.auc for run in runs]) >= 0.75
    assert np.mean([run.accuracy for run in runs]) >= np.mean([uniform(seed, hidden=128) for seed in others]) + 0.015
