"""DWM against a calculation of its own, and what must hold of its weights whatever it has learned."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.row_weights.base import SeenRows
from hbo_plugin.row_weights.dwm import FEATURES, Dwm, DwmSettings
from hbo_plugin.row_weights.network import HIDDEN, NETWORK_FILE, Network

torch = pytest.importorskip("torch")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LEVELS, ROWS, STEPS = 3, 12, 60
PARTS = ("row", "dataset", "level", "tokens", "loss", "entropy")


def make(steps: int = STEPS, seed: int = 0, **settings: Any) -> Dwm:
    """One that learns often and fast."""
    settings = {"refresh_every": 4, "learning_rate": 0.05, **settings}
    return Dwm(RunFacts(seed=seed), DwmSettings(**settings), steps, LEVELS)


def drawn(steps: int = STEPS, seed: int = 0) -> Iterator[tuple[int, SeenRows, NDArray[np.float64]]]:
    """Rows of steps and their influence, which falls with the loss."""
    rng = np.random.default_rng(seed)
    for step in range(steps):
        loss = rng.gamma(3, size=ROWS)
        yield (
            step,
            SeenRows(
                row=rng.integers(1000, size=ROWS),
                dataset=rng.integers(2, size=ROWS),
                level=rng.integers(LEVELS, size=ROWS),
                tokens=rng.integers(1, 200, size=ROWS),
                loss=loss,
                entropy=loss + rng.normal(size=ROWS),
            ),
            (3 - loss + rng.normal(size=ROWS)) * 1e-3,
        )


def picked(rows: SeenRows, which: Any) -> SeenRows:
    return SeenRows(**{part: getattr(rows, part)[which] for part in PARTS})


def trained_on(dwm: Dwm, step: int, rows: SeenRows, influence: NDArray[np.float64]) -> NDArray[np.float64]:
    """A step as a run makes it; the weights of its rows."""
    dwm.begin_step(step, rows.row)
    weights = dwm.weights(rows)
    if dwm.refreshes(step):
        dwm.refresh(rows, influence)
    dwm.end_step(step, rows, weights)
    return weights


def learned(dwm: Dwm, seed: int = 0) -> Dwm:
    for step, rows, influence in drawn(seed=seed):
        trained_on(dwm, step, rows, influence)
    dwm.begin_step(STEPS - 1, np.zeros(0, np.int64))
    return dwm


class Reference:
    """DWM written to be read: running means row by row, and the network by torch's autograd and Adam."""

    def __init__(self, settings: DwmSettings) -> None:
        self.settings = settings
        start = torch.tensor(Network(FEATURES, 0).state_dict()["parameters"], dtype=torch.float64)
        shapes = [(len(FEATURES), HIDDEN), (HIDDEN,), (HIDDEN,), (1,)]
        parts = start.split([math.prod(shape) for shape in shapes])
        self.layers = [part.reshape(shape).clone().requires_grad_() for part, shape in zip(parts, shapes, strict=True)]
        self.adam = torch.optim.Adam(self.layers, lr=settings.learning_rate, maximize=True)
        self.frozen = [layer.detach().clone() for layer in self.layers]
        self.mean = self.frozen_mean = 1.0
        self.count, self.means, self.squares = 0, [0.0] * 4, [0.0] * 4

    def features(self, rows: SeenRows) -> Any:
        seen = [
            [rows.loss[row], rows.entropy[row], math.log(rows.tokens[row]), rows.level[row] / (LEVELS - 1)]
            for row in range(len(rows.row))
        ]
        spread = [max((square - mean**2) ** 0.5, 0.01) for mean, square in zip(self.means, self.squares, strict=True)]
        scaled = [[(each - m) / s for each, m, s in zip(row, self.means, spread, strict=True)] for row in seen]
        return torch.tensor(scaled, dtype=torch.float64), seen

    @staticmethod
    def score(layers: Any, x: Any) -> Any:
        first, bias, second, last = layers
        return torch.tanh(x @ first + bias) @ second + last

    def odds(self, layers: Any, x: Any) -> Any:
        return self.score(layers, x).exp().clamp(self.settings.lowest, self.settings.highest)

    def step(self, step: int, rows: SeenRows, influence: NDArray[np.float64]) -> list[float]:
        settings, tokens = self.settings, torch.tensor(rows.tokens, dtype=torch.float64)
        share = tokens / tokens.sum()
        if settings.stages and step in {STEPS * stage // settings.stages for stage in range(1, settings.stages)}:
            self.frozen, self.frozen_mean = [layer.detach().clone() for layer in self.layers], self.mean
        weights = [1.0] * len(rows.row)
        if step >= settings.start:
            layers, mean = (self.frozen, self.frozen_mean) if settings.stages else (self.layers, self.mean)
            odds = self.odds(layers, self.features(rows)[0]) / mean
            weights = odds.clamp(settings.lowest, settings.highest).tolist()
        if step >= settings.start and (step - settings.start) % settings.refresh_every == 0:
            self.refresh(self.features(rows)[0], share, torch.tensor(influence / np.abs(influence).mean()))
        self.count += 1
        rate = max(0.02, 1 / self.count)
        for number in range(4):
            values = [row[number] for row in self.features(rows)[1]]
            self.means[number] += rate * (sum(values) / len(values) - self.means[number])
            self.squares[number] += rate * (sum(v**2 for v in values) / len(values) - self.squares[number])
        x = self.features(rows)[0]
        self.mean += rate * (self.odds(self.layers, x) @ share - self.mean).item()
        self.frozen_mean += rate * (self.odds(self.frozen, x) @ share - self.frozen_mean).item()
        return weights

    def refresh(self, x: Any, share: Any, gain: Any) -> None:
        before = (share @ self.odds(self.layers, x)).item()
        for _ in range(self.settings.passes):
            score = self.score(self.layers, x)
            weights = self.odds(self.layers, x) / (share @ self.odds(self.layers, x))
            self.adam.zero_grad()
            ((weights * gain).mean() - self.settings.l2 / 2 * (score**2).mean()).backward()
            self.adam.step()
        self.mean *= (share @ self.odds(self.layers, x)).item() / before


@pytest.mark.parametrize("settings", [{}, {"stages": 4}, {"l2": 0.5, "passes": 3, "lowest": 0.8, "highest": 1.5}])
def test_weights_are_those_of_the_reference(settings: dict[str, Any]) -> None:
    settings = {"refresh_every": 4, "learning_rate": 0.05, "start": 6, **settings}
    dwm, reference = make(**settings), Reference(DwmSettings(**settings))
    found = [
        (trained_on(dwm, step, rows, influence), reference.step(step, rows, influence))
        for step, rows, influence in drawn()
    ]
    for weights, wanted in found:
        np.testing.assert_allclose(weights, wanted, rtol=1e-8)
    assert np.std(found[-1][0]) > 0.1


def test_all_rows_weigh_exactly_1_before_the_first_refresh() -> None:
    dwm = make(start=0.5)
    found = [trained_on(dwm, *each) for each in drawn()]
    assert all((weights == 1).all() for weights in found[:31])
    assert not any((weights == 1).any() for weights in found[31:])


def test_it_refreshes_every_so_many_steps_from_the_start_on() -> None:
    dwm = make(start=7, refresh_every=20)
    assert [step for step in range(STEPS) if dwm.refreshes(step)] == [7, 27, 47]


@pytest.mark.parametrize("stages", [None, 4])
def test_tokens_weigh_1_on_average(stages: int | None) -> None:
    """Also right after a refresh, and under the network of a stage."""
    dwm = make(steps=400, refresh_every=20, learning_rate=0.02, stages=stages)
    others = [rows for _, rows, _ in drawn(20, seed=1)]
    tokens = np.concatenate([rows.tokens for rows in others])
    means = []
    for step, rows, influence in drawn(400):
        trained_on(dwm, step, rows, influence)
        weights = np.concatenate([dwm.weights(each) for each in others])
        means.append(np.average(weights, weights=tokens))
    assert np.std(weights) > 0.4
    assert np.mean(means) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(means, 1, atol=0.25)


def test_weights_stay_within_their_bounds() -> None:
    found = {}
    for bounds in ((0.8, 2.0), (0.5, 1.05)):
        dwm = learned(make(l2=0.0, lowest=bounds[0], highest=bounds[1]))
        found[bounds] = np.concatenate([dwm.weights(rows) for _, rows, _ in drawn(seed=1)])
        assert found[bounds].min() >= bounds[0]
        assert found[bounds].max() <= bounds[1]
    assert found[0.8, 2.0].min() == 0.8
    assert found[0.5, 1.05].max() == 1.05


def test_the_wildest_settings_leave_weights_finite() -> None:
    dwm = learned(make(l2=0.0, learning_rate=1.0))
    weights = np.concatenate([dwm.weights(rows) for _, rows, _ in drawn(seed=1)])
    assert np.isfinite(weights).all()
    assert np.isfinite([dwm.state_dict()["learner"]["mean"]]).all()


def test_neither_the_order_of_rows_nor_their_batches_matter() -> None:
    plain, shuffled = make(), make()
    for step, rows, influence in drawn():
        order = np.random.default_rng(step).permutation(ROWS)
        weights = trained_on(plain, step, rows, influence)
        parts = [plain.weights(picked(rows, part)) for part in (slice(5), slice(5, 6), slice(6, None))]
        other = trained_on(shuffled, step, picked(rows, order), influence[order])
        np.testing.assert_allclose(other, weights[order], rtol=1e-8)
        if not plain.refreshes(step):
            plain_now = plain.weights(rows)
            np.testing.assert_allclose(np.concatenate(parts), plain_now, rtol=1e-10)


@pytest.mark.parametrize("stages", [None, 4])
def test_its_state_continues_it_bit_for_bit(stages: int | None) -> None:
    dwm, resumed = make(stages=stages), make(seed=5, stages=stages)
    for step, rows, influence in drawn():
        weights = trained_on(dwm, step, rows, influence)
        if step == 37:
            resumed.load_state_dict(json.loads(json.dumps(dwm.state_dict())))
        if step > 37:
            np.testing.assert_array_equal(trained_on(resumed, step, rows, influence), weights)
    assert np.std(weights) > 0.1
    assert json.dumps(resumed.state_dict()) == json.dumps(dwm.state_dict())


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="has no `parameters`"):
        make().load_state_dict({"weights": [1.0]})


def test_a_finished_network_serves_a_run_whose_losses_are_on_another_scale(tmp_path: Path) -> None:
    teacher = learned(make())
    teacher.save(tmp_path)
    own, other = (make(path=str(tmp_path / NETWORK_FILE), seed=9, start=10) for _ in range(2))
    assert not any(own.refreshes(step) for step in range(STEPS))
    found = []
    for step, rows, influence in drawn(seed=3):
        scaled = replace(rows, loss=5 + 20 * rows.loss, entropy=7 * rows.entropy - 1)
        found.append(trained_on(own, step, rows, influence))
        np.testing.assert_allclose(trained_on(other, step, scaled, influence), found[-1], rtol=1e-8)
    assert all((weights == 1).all() for weights in found[:10])
    assert np.mean(found[10:]) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(found[-1], teacher.weights(rows))[0, 1] > 0.95


@pytest.mark.parametrize("part", ["loss", "entropy"])
def test_rows_without_a_loss_weigh_1_and_teach_nothing(part: str) -> None:
    plain, holed = make(), make()
    for step, rows, influence in drawn():
        weights = trained_on(plain, step, rows, influence)
        more = SeenRows(**{each: np.append(getattr(rows, each), getattr(rows, each)[:2]) for each in PARTS})
        getattr(more, part)[ROWS:] = [math.nan, math.inf]
        found = trained_on(holed, step, more, np.append(influence, [5.0, math.nan]))
        np.testing.assert_array_equal(found, [*weights, 1, 1])


def test_influences_that_are_not_finite_are_left_out() -> None:
    dwm, same = learned(make()), learned(make())
    _, rows, influence = next(drawn(seed=4))
    influence[[2, 5]] = math.nan, math.inf
    dwm.refresh(rows, influence)
    keep = np.isfinite(influence)
    same.refresh(picked(rows, keep), influence[keep])
    assert dwm.state_dict() == same.state_dict()
    for nothing in (np.full(ROWS, math.nan), np.zeros(ROWS)):
        dwm.refresh(rows, nothing)
    assert dwm.state_dict() == same.state_dict()


def test_a_step_without_an_answer_changes_nothing() -> None:
    dwm = learned(make())
    before = dwm.state_dict()
    _, rows, influence = next(drawn())
    empty = replace(rows, tokens=rows.tokens * 0, loss=rows.loss * math.nan, entropy=rows.entropy * math.nan)
    assert (trained_on(dwm, STEPS - 4, empty, influence) == 1).all()
    assert dwm.state_dict() == before


def test_one_level_is_no_feature() -> None:
    dwm = Dwm(RunFacts(), DwmSettings(start=0, refresh_every=1, learning_rate=0.1), STEPS, 1)
    for step, rows, influence in drawn():
        weights = trained_on(dwm, step, replace(rows, level=rows.level * 0), influence)
    assert np.isfinite(weights).all()
    assert np.std(weights) > 0.1


def test_a_start_after_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start: 60` was given, but the run has 60 steps"):
        make(start=60)
