"""What the console says of new weights."""

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hbo_plugin.training.console import tell_capped


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
