"""A signal source and a method that keep arrays, for tests: what they give next depends on all that they gave before."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hbo_plugin.methods.base import NoSettings, RunFacts
from hbo_plugin.signals import choice, table
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.sources import SignalSource


class Keeper(SignalSource):
    """Gives `kept`, which is no measurement of anything."""

    def __init__(self, names: Sequence[str], context: Context) -> None:
        super().__init__(names, context)
        self._kept = torch.linspace(0.1, 0.9, len(context.cells.names), dtype=torch.float64)

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        self._kept = torch.sin(3 * self._kept + step)
        return {"kept": self._kept.numpy().copy()}

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"kept": self._kept}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._kept = tensors["kept"]


class Remembers:
    """`method: keeper.Remembers`: weights that follow from every `kept` so far."""

    signals = ("kept",)
    Settings = NoSettings

    def __init__(self, rows: NDArray[np.int64], _settings: NoSettings, _run: RunFacts) -> None:
        self._rows = rows
        self._memory = np.zeros(len(rows))

    def weights(self) -> NDArray[np.float64]:
        weights = np.exp(self._memory)[:, None] * self._rows / self._rows.sum(axis=1, keepdims=True)
        return np.asarray(weights / weights.sum())

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        self._memory = np.tanh(2 * self._memory + signals["kept"])

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        pass

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        return {"memory": self._memory}

    def load_arrays(self, arrays: Mapping[str, NDArray[np.float64]], /) -> None:
        self._memory = arrays["memory"]


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run find the source and its signal: one entry in each table."""
    monkeypatch.setitem(choice.SOURCES, "keeper", ("keeper:Keeper", "nothing"))
    signal = table.Signal("dataset", "what the source kept", "none", {"keeper": frozenset()})
    monkeypatch.setitem(table.SIGNALS, "kept", signal)
