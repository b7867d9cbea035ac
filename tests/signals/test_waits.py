"""Waits: how often the host waits for a GPU that it looks at, on a pretended one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from predicted import predicted  # noqa: E402
from pretended_device import PretendedDevice, on_device  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.signals import tokens  # noqa: E402
from hbo_plugin.signals.context import Context  # noqa: E402
from hbo_plugin.signals.reuse import Reuse  # noqa: E402
from hbo_plugin.signals.sources import Batch  # noqa: E402

VOCABULARY, LENGTH, ROWS = 30, 12, 8


def source() -> Reuse:
    lengths = np.full(ROWS, LENGTH, np.int32)
    cells = Cells(("a", "b"), np.array([[2, 2]] * 2), lengths, lengths - 1, ("", ""))
    return Reuse(("perplexity_ratio", "entropy"), Context(SimpleNamespace(processing_class=None), cells, passes=False))


def look(made: Reuse, logits: Any, labels: Any, rows: list[list[int]]) -> None:
    with made.watching():
        made.observe(Batch({}, {}, rows, predicted(made._context, logits, labels, rows)))
    made.gather()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("chunk", [1 << 24, 2 * VOCABULARY])
def test_a_batch_is_looked_at_in_two_waits(monkeypatch: pytest.MonkeyPatch, chunk: int, *, packed: bool) -> None:
    """For its labels, and for what was found: whatever its size, and in however many parts it is looked at."""
    monkeypatch.setattr(tokens, "_CHUNK", chunk)
    rows = [list(range(ROWS))] if packed else [[row] for row in range(ROWS)]
    torch.manual_seed(0)
    logits = torch.randn(len(rows), LENGTH * len(rows[0]), VOCABULARY, dtype=torch.bfloat16)
    labels = torch.randint(0, VOCABULARY, logits.shape[:2])
    here, there = source(), source()
    look(here, logits, labels, rows)
    given = on_device(logits), on_device(labels)
    with PretendedDevice() as device:
        look(there, *given, rows)
    assert device.waits.total() == 2
    found, wanted = there.measure(1), here.measure(1)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_the_device_tells_what_it_is_asked_for() -> None:
    """The checks of the pretended device itself, by operations of which CUDA is known to wait, or to refuse them."""
    values = on_device(torch.arange(6.0))
    with PretendedDevice() as device:
        assert (values * 2 + 1).device == values.device != torch.device("cpu")
        assert device.waits.total() == 0
        _ = values.cpu()
        assert device.waits.total() == 1
        _ = values.sum().item()
        assert device.waits.total() == 2
        _ = values[values > 3]
        assert device.waits.total() == 3
        with pytest.raises(RuntimeError, match="`add` of tensors on the device and on the host"):
            _ = values + torch.ones(6)
