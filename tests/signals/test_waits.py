"""Waits: how often the host waits for a GPU that it looks at, on a pretended one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from predicted import predicted  # noqa: E402
from pretended_device import DEVICE, Pretended, PretendedDevice, on_device  # noqa: E402

from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.clock import Clock  # noqa: E402
from hbo_plugin.signals import tokens  # noqa: E402
from hbo_plugin.signals.context import Context  # noqa: E402
from hbo_plugin.signals.layer_influence import LayerInfluence  # noqa: E402
from hbo_plugin.signals.layers import LayerGradients  # noqa: E402
from hbo_plugin.signals.passes import answer_loss  # noqa: E402
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


def test_layers_are_told_whose_tokens_these_are_without_a_wait() -> None:
    owners = np.repeat(np.arange(ROWS), LENGTH)[None]
    model = torch.nn.Linear(2, 2, bias=False)
    influence = LayerInfluence(model, [model.weight], Clock())
    with PretendedDevice() as device:
        model.weight = torch.nn.Parameter(on_device(torch.zeros(2, 2)))
        LayerGradients(Clock()).expect(owners, ROWS, DEVICE)
        influence.expect(owners, ROWS)
    assert device.waits.total() == 0


def test_a_pass_hands_its_batch_over_without_a_wait() -> None:
    """The next batch is made ready while the device works. What still waits is how transformers looks at a mask."""
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=VOCABULARY, **shape))
    ids = torch.randint(0, VOCABULARY, (ROWS, LENGTH))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    batch["attention_mask"][0, 4:] = 0
    wanted, _ = answer_loss(model, batch)
    with PretendedDevice() as device, torch.no_grad():
        for module in model.modules():
            for tensors in (module._parameters, module._buffers):
                there = {name: on_device(value.detach()) for name, value in tensors.items() if value is not None}
                tensors.update(there)
        before = device.waits["_to_copy"]
        found, _ = answer_loss(model, batch)
        assert device.waits["_to_copy"] == before
    assert isinstance(found, Pretended)
    torch.testing.assert_close(found.on_host, wanted.detach())


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
        _ = torch.ones(6).to(values.device)
        assert device.waits.total() == 4
        _ = torch.ones(6).to(values.device, non_blocking=True)
        values.copy_(torch.ones(6), non_blocking=True)
        assert device.waits.total() == 4
        values.copy_(torch.ones(6))
        assert device.waits.total() == 5
        with pytest.raises(RuntimeError, match="`add` of tensors on the device and on the host"):
            _ = values + torch.ones(6)
