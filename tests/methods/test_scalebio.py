"""ScaleBiO's rule against torch's AdamW, and what is ours in it."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import numpy as np
import pytest
from method_cases import ROWS, column, logits, make, names

from hbo_plugin.args import HBOConfig
from hbo_plugin.methods.base import FollowsTime

GAPS = np.array([[0.02, -0.01, 0.03], [0.01, -0.02, 0.05], [0.03, 0.02, 0.01], [-0.01, -0.01, 0.02]])


def told(method: Any, step: int, steps: int, gap: Any) -> None:
    assert method.advance(step, steps) == steps
    method.update({"twin_gap": np.asarray(gap)})


def test_it_is_told_where_the_run_is() -> None:
    assert isinstance(make("scalebio", ROWS, names=names(ROWS)), FollowsTime)


def test_the_published_rule_is_adamw_on_the_published_gradient() -> None:
    torch = pytest.importorskip("torch")
    method = make("scalebio", ROWS, published=True, update_every=1, names=names(ROWS))
    own = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    # As uniform weights begin: a constant in all logits is none in the weights, but the decay acts on it.
    with torch.no_grad():
        own += np.log(1 / 3)
    optimizer = torch.optim.AdamW([own], lr=0.01, weight_decay=0.01)
    for step, gap in enumerate(GAPS, 1):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + cos(pi * step / 10)) / 2
        share, penalised = own.detach().softmax(0), 10 * torch.as_tensor(gap)
        own.grad = share * (penalised - share @ penalised)
        optimizer.step()
        told(method, step, 10, gap)
    found = own.detach().numpy()
    np.testing.assert_allclose(logits(method.weights().sum(axis=1)), found - found.mean(), rtol=1e-9)


def test_steps_are_shrunk_by_their_noise_and_follow_the_run() -> None:
    """Arm by arm, from the formulas in the docstring, with Adam's betas of 0.9 and 0.95."""
    method = make("scalebio", column(10, 10, 10), prior="uniform", update_every=5, names=names(ROWS))
    own, mean, square = np.zeros((3, 3))
    for number, gap in enumerate(GAPS, 1):
        share = np.exp(own) / np.exp(own).sum()
        rate = 6 * 5 / 100 * (1 + cos(pi * number * 5 / 100)) / 2
        for arm, gradient in enumerate(10 * share * (gap - share @ gap)):
            mean[arm] = 0.9 * mean[arm] + 0.1 * gradient
            square[arm] = 0.95 * square[arm] + 0.05 * gradient**2
            m, v = mean[arm] / (1 - 0.9**number), square[arm] / (1 - 0.95**number)
            # Weights of the mean of so many gradients, squared and added.
            parts = 0.9 ** np.arange(number)
            variance = v * (parts**2).sum() / parts.sum() ** 2
            own[arm] -= rate * max(0, 1 - variance / m**2) * m / (v**0.5 + 1e-8)
        told(method, number * 5, 100, gap)
    assert np.abs(own).max() > 0.05
    np.testing.assert_allclose(logits(method.weights()), own - own.mean(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("updates", [20, 50, 500])
def test_a_logit_goes_as_far_however_many_updates_there_are(updates: int) -> None:
    """Of a gap that never changes: 3 nats down where it is a loss, less what a new run takes to be sure of it."""
    method = make("scalebio", column(10, 10), prior="uniform", update_every=10, names=("a", "b"))
    for number in range(1, updates):
        told(method, 10 * number, 10 * updates, [0.1, -0.1])
    assert 3.5 < np.diff(logits(method.weights()))[0] < 6


def test_a_dataset_that_no_row_came_of_has_no_part() -> None:
    method: Any = make("scalebio", column(10, 10, 10), prior="uniform", names=names(ROWS))
    for gap in GAPS:
        told(method, 100, 2000, [gap[0], np.nan, gap[2]])
    assert method._actor._first_moment[1] == 0
    assert method._actor._first_moment[0] != 0


def test_each_update_has_a_step_of_the_twin() -> None:
    assert [HBOConfig(method="scalebio", published=each).update_every for each in (False, True)] == [8, 1]
    with pytest.raises(ValueError, match="twin_every") as error:
        make("scalebio", ROWS, names=names(ROWS), twin_every=12, update_every=10)
    assert str(error.value) == (
        "`hbo.twin_every: 12` was given, but with an update every 10 steps it must be at most that, so that each has "
        "something to look at; lower it, or raise `hbo.update_every`."
    )
