"""What the console says of new weights."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hbo_plugin.training.console import tell, tell_capped


def test_a_cap_is_told_where_a_share_is_another_as_it_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    asked, left = np.array([[0.4], [0.1252], [0.4748]]), np.array([[0.3], [0.1248], [0.5752]])
    balancer: Any = SimpleNamespace(
        capped=np.array([True, True, False]),
        cells=SimpleNamespace(sizes=np.ones((3, 1)), names=("small", "at its cap", "large")),
        method=SimpleNamespace(weights=lambda: asked),
        weights=lambda: left,
    )
    with caplog.at_level(logging.WARNING):
        tell_capped(7, balancer, np.zeros(3, bool))
    assert [record.getMessage() for record in caplog.records] == [
        "hbo: from step 7 on, `max_epochs` lowers the weight of dataset `small` from 40.0% to 30.0%; the others take the rest."
    ]
    caplog.clear()
    tell_capped(8, balancer, balancer.capped)
    assert not caplog.records


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([[0.3, 0.3], [0.2, 0.2]], "a 50.0% → 60.0%, b 50.0% → 40.0%"),
        ([[0.25, 0.25], [0.4, 0.1]], "levels of b 50% 50% → 80% 20%"),
        ([[0.3, 0.2], [0.1, 0.4]], "levels of b 50% 50% → 20% 80%, levels of a 50% 50% → 60% 40%"),
        ([[0.25, 0.25], [0.25, 0.25]], "a 50.0% → 50.0%, b 50.0% → 50.0%"),
    ],
)
def test_what_moved_most_is_told(now: list[list[float]], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    names, still = ("a", "b"), np.zeros(4, bool)
    cells = SimpleNamespace(names=names, levels=2, sizes=np.ones((2, 2)))
    weights = np.array(now)
    balancer: Any = SimpleNamespace(
        cells=cells, capped=still, weights=lambda: weights, method=SimpleNamespace(weights=lambda: weights)
    )
    tell(10, balancer, np.full((2, 2), 0.25), still, {})
    assert capsys.readouterr().out == f"hbo: step 10: {told}\n"
