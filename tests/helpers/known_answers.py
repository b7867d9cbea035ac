"""Toys whose best mixture is known, for methods that look for the mixture that serves a target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hbo_plugin.signals.copies import Gains

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

    Losses = NDArray[np.float64]

TARGET = {"exam": 1.0}
"""The only held-out set of the toys that have no data."""
_FREE = 20
"""Steps of the model between two updates."""


@dataclass(frozen=True)
class Quadratic:
    """Sources with losses (w - c_i)' H_i (w - c_i) / 2, and a target with one of its own, all exact.

    Attributes:
        centres: c of each source, float64[sources, d].
        curvatures: H of each source, float64[sources, d, d], positive definite.
        goal: where the loss of the target is least, float64[d]; its curvature is 1.
    """

    centres: NDArray[np.float64]
    curvatures: NDArray[np.float64]
    goal: NDArray[np.float64]

    @classmethod
    def of(cls, seed: int, best: NDArray[np.float64], *, alike: bool, away: float = 0.0, size: int = 8) -> Quadratic:
        """Make one of four sources.

        Args:
            seed: of all that is drawn.
            best: a mixture, float64[4].
            alike: whether all have one curvature.
            away: how far the goal is from where this mixture rests; at 0 no other serves the target as well.
            size: d.
        """
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(4, size))
        factors = rng.normal(size=(4, size, size)) / size**0.5
        curvatures = factors @ factors.transpose(0, 2, 1) + 0.3 * np.eye(size)
        if alike:
            curvatures[:] = curvatures[0]
        direction = rng.normal(size=size)
        rest = cls(centres, curvatures, direction).rests_at(best)
        return cls(centres, curvatures, rest + away * direction / np.linalg.norm(direction))

    def losses(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each source, float64[sources]."""
        away = w - self.centres
        return np.asarray(np.einsum("si,sij,sj->s", away, self.curvatures, away) / 2)

    def gradients(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each source, float64[sources, d]."""
        return np.asarray(np.einsum("sij,sj->si", self.curvatures, w - self.centres))

    def target_loss(self, w: NDArray[np.float64]) -> float:
        """Of the target."""
        return float(((w - self.goal) ** 2).sum() / 2)

    def target_gradient(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of the target, float64[d]."""
        return w - self.goal

    def rests_at(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the mixture of the sources is least, float64[d]."""
        mixed = np.einsum("s,sij->ij", weights, self.curvatures)
        return np.linalg.solve(mixed, np.einsum("s,sij,sj->i", weights, self.curvatures, self.centres))

    def served(self, weights: NDArray[np.float64]) -> float:
        """The loss of the target where a mixture rests."""
        return self.target_loss(self.rests_at(weights))

    @cached_property
    def least_served(self) -> float:
        """The least that any mixture reaches, by exponentiated descent along the exact derivative."""
        weights = np.full(len(self.centres), 1 / len(self.centres))
        for _ in range(3000):
            w = self.rests_at(weights)
            mixed = np.einsum("s,sij->ij", weights, self.curvatures)
            slope = -self.gradients(w) @ np.linalg.solve(mixed, self.target_gradient(w))
            weights = weights * np.exp(-0.1 * (slope - slope @ weights))
            weights /= weights.sum()
        return self.served(weights)


def tandem_on_quadratic(
    toy: Quadratic,
    method: Method,
    *,
    copy_steps: int = 5,
    rate: float = 0.3,
    updates: int = 3000,
    sign: int = 1,
    sees: bool = True,
) -> NDArray[np.float64]:
    """The weights that `tandem` ends at, where the model trains between updates.

    Args:
        toy: the sources and the target.
        method: new.
        copy_steps: of each copy.
        rate: of every step.
        updates: of the weights.
        sign: -1 turns what the copies tell around.
        sees: whether the copy that should see the target does.
    """
    w = np.zeros(toy.centres.shape[1])
    for _ in range(updates):
        weights = method.weights()[:, 0]
        for _ in range(_FREE):
            w = w - rate * weights @ toy.gradients(w)
        blind, seeing = w, w
        for _ in range(copy_steps):
            blind = blind - rate * weights @ toy.gradients(blind)
            seeing = seeing - rate * (weights @ toy.gradients(seeing) + sees * toy.target_gradient(seeing))
        gains = sign * (toy.losses(blind) - toy.losses(seeing))
        method.update({"copy_gain": gains[:, None]})
    return method.weights()[:, 0]


SOURCES, CLASSES, INPUTS = 10, 10, 20
NOISE = np.minimum(np.arange(SOURCES) * 0.2, 1.0)
"""The share of each source's labels that are drawn at random: the last five sources are nothing but noise."""
_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """Labelled points of some sources, one after the other.

    Attributes:
        points: float32[rows, INPUTS].
        labels: int64[rows].
        source: int64[rows].
    """

    points: torch.Tensor
    labels: torch.Tensor
    source: NDArray[np.int64]


class NoisySources:
    """Ten sources of the same points with ever more wrong labels, and clean points that are held out and tested on.

    The protocol of ScaleBiO (arXiv 2406.19976, `corrupt_data.py` of its code) on a classification by a random network.
    """

    def __init__(self, seed: int, rows: int = 400, held_out: int = 500, tested: int = 2000) -> None:
        """Draw them; `rows` are those of a source."""
        self.rng = np.random.default_rng(seed)
        self._teacher = [self.rng.normal(size=shape) / shape[0] ** 0.5 for shape in ((INPUTS, 32), (32, CLASSES))]
        self.train = self._examples(np.repeat(np.arange(SOURCES), rows))
        self.held_out = self._examples(np.zeros(held_out, np.int64))
        self.tested = self._examples(np.zeros(tested, np.int64))
        torch.manual_seed(seed)
        sizes = (INPUTS, 64, 64, CLASSES)
        layers = [torch.nn.Linear(*pair) for pair in pairwise(sizes)]
        self.model = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)

    def _examples(self, source: NDArray[np.int64]) -> Examples:
        points = self.rng.normal(size=(len(source), INPUTS))
        labels = (np.tanh(2 * points @ self._teacher[0]) @ self._teacher[1]).argmax(1)
        wrong = self.rng.random(len(source)) < NOISE[source]
        labels[wrong] = self.rng.integers(CLASSES, size=wrong.sum())
        return Examples(torch.tensor(points, dtype=torch.float32), torch.tensor(labels), source)

    def draw(self, weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows of a step, int64[64], by the weights of the sources."""
        rows = len(self.train.source) // SOURCES
        return self.rng.choice(SOURCES, _BATCH, p=weights) * rows + self.rng.integers(rows, size=_BATCH)

    def losses(self, examples: Examples, rows: NDArray[np.int64]) -> torch.Tensor:
        """Of each row, float32[rows]."""
        found = self.model(examples.points[rows]), examples.labels[rows]
        return torch.nn.functional.cross_entropy(*found, reduction="none")

    def step(self, weights: NDArray[np.float64]) -> None:
        """Train a step on rows drawn by the weights."""
        self.optimizer.zero_grad()
        self.losses(self.train, self.draw(weights)).mean().backward()
        self.optimizer.step()

    def accuracy(self) -> float:
        """On the points that are tested on."""
        with torch.no_grad():
            return float((self.model(self.tested.points).argmax(1) == self.tested.labels).float().mean())


def trained_on_noise(
    toy: NoisySources, method: Method, update: Callable[[NoisySources, NDArray[np.float64], int], Any], steps: int = 600
) -> tuple[NDArray[np.float64], float]:
    """Train; every 20 steps the method gets what `update` returns of the toy, its weights and the step.

    Returns:
        The weights at the end, float64[sources], and the accuracy.
    """
    for step in range(steps):
        if step and step % _FREE == 0:
            method.update(update(toy, method.weights()[:, 0], step))
        toy.step(method.weights()[:, 0])
    return method.weights()[:, 0], toy.accuracy()


def tandem_on_noise(*, sign: int = 1, sees: bool = True, sampled: int = 64) -> Any:
    """What tandem's copies find on the toy, for `trained_on_noise`; see `tandem_on_quadratic`.

    Args:
        sign: -1 turns what the copies tell around.
        sees: whether the copy that should see held-out rows does.
        sampled: rows of each source whose losses are compared.
    """

    def update(toy: NoisySources, weights: NDArray[np.float64], _step: int) -> dict[str, NDArray[np.float64]]:
        start = [parameter.detach().clone() for parameter in toy.model.parameters()]
        rate = 0.3 * 3e-3 * sum(part.numel() for part in start) ** 0.5
        rows = len(toy.train.source) // SOURCES
        sample = (np.arange(SOURCES)[:, None] * rows + np.arange(sampled)).ravel()
        draws = [(toy.draw(weights), toy.rng.choice(len(toy.held_out.labels), _BATCH)) for _ in range(5)]
        found, longest = [], 0.0
        for seeing in (True, False):
            for number, (drawn, held_out) in enumerate(draws):
                loss = toy.losses(toy.train, drawn).mean()
                if seeing and sees:
                    loss = loss + toy.losses(toy.held_out, held_out).mean()
                along = torch.autograd.grad(loss, list(toy.model.parameters()))
                norm = float(sum(part.square().sum() for part in along)) ** 0.5
                longest = max(longest, norm) if seeing and number == 0 else longest
                with torch.no_grad():
                    for parameter, part in zip(toy.model.parameters(), along, strict=True):
                        parameter.sub_(part, alpha=rate / max(longest, norm))
            with torch.no_grad():
                held = np.arange(len(toy.held_out.labels))
                found.append([toy.losses(toy.train, sample).numpy(), toy.losses(toy.held_out, held).numpy()])
                for parameter, part in zip(toy.model.parameters(), start, strict=True):
                    parameter.copy_(part)
        (of_seeing, held_of_seeing), (of_blind, held_of_blind) = found
        gains = Gains((of_blind - of_seeing).astype(float)[None], [(held_of_blind - held_of_seeing).astype(float)])
        signals = gains.signals(toy.train.source[sample], SOURCES)
        return {**signals, "transfer": sign * signals["transfer"]}

    return update
