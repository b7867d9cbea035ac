"""Passes of hbo's own."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from hbo_plugin.devices import own_devices  # noqa: E402


def test_only_devices_of_the_run_are_asked_for_their_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a node of eight, of which this process computes on the sixth and keeps part of the model on the seventh."""
    asked: list[int] = []
    for name, value in {"is_available": True, "is_initialized": True, "current_device": 5, "device_count": 8}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda _state, _device: None)
    parts = [SimpleNamespace(is_cuda=True, device=torch.device("cuda", 6)), SimpleNamespace(is_cuda=False)]
    assert own_devices(SimpleNamespace(parameters=lambda: parts)) == [5, 6]
    with torch.random.fork_rng(own_devices(torch.nn.Linear(1, 1)), device_type="cuda"):
        pass
    assert asked == [5]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert own_devices(torch.nn.Linear(1, 1)) == []
