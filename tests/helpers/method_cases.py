"""What the tests of the methods share: cells, ways to build any method, and witnesses of the published actor."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hbo_plugin.methods import METHODS, PUBLISHED, SIGNALS, RunFacts, find_settings, make_method
from hbo_plugin.methods.parameters import read_settings
from hbo_plugin.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

ROWS = np.array([[25, 25, 26], [300, 300, 301], [4, 0, 4]])
TARGET = {"first": 0.75, "second": 0.25}
"""The held-out sets that count."""


def column(*rows: int) -> NDArray[np.int64]:
    """Datasets of one level each."""
    return np.array(rows)[:, None]


def logits(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithms of weights, centred: what moves when an actor learns."""
    values = np.log(weights.ravel())
    return np.asarray(values - values.mean())


def adam_steps(first: list[float], rewards: list[list[float]], *, fit: bool = False) -> NDArray[np.float64]:
    """Logits after updates of 200 Adam steps each, arm by arm, from the formulas of the two papers.

    With `fit`, a fit to a uniform prior came before, which is one step of gradient 0.
    """
    arms = range(len(first))
    a, m, v, t = list(first), [0.0 for _ in arms], [0.0 for _ in arms], int(fit)
    for r in rewards:
        for _ in range(200):
            t += 1
            total = sum(np.exp(a[k]) for k in arms)
            gradient = [np.exp(a[k]) / total * sum(r) - r[k] for k in arms]
            for k in arms:
                m[k] = 0.9 * m[k] + 0.1 * gradient[k]
                v[k] = 0.999 * v[k] + 0.001 * gradient[k] ** 2
                a[k] -= 1e-4 * (m[k] / (1 - 0.9**t)) / (np.sqrt(v[k] / (1 - 0.999**t)) + 1e-8)
    return np.asarray(np.array(a) - np.mean(a))


def adam_steps_with_torch(first: list[float], rewards: list[list[float]], *, fit: bool = False) -> NDArray[np.float64]:
    """The same from torch's own Adam and its own gradients."""
    torch = pytest.importorskip("torch")
    a = torch.tensor(first, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([a], lr=1e-4)
    if fit:
        (0 * a.sum()).backward()
        adam.step()
    for r in rewards:
        for _ in range(200):
            adam.zero_grad()
            (-torch.tensor(r, dtype=torch.float64) @ torch.log_softmax(a, dim=0)).backward()
            adam.step()
    return np.asarray((a - a.mean()).detach().numpy())


def names(rows: NDArray[np.int64]) -> tuple[str, ...]:
    """A name for each dataset."""
    return tuple(f"d{index}" for index in range(len(rows)))


def write_trace(path: Path, *records: dict[str, Any]) -> Path:
    """Write a trace of these records, of which a method looks only at the weights."""
    trace = Trace(path)
    trace.begin(0)
    for record in records:
        trace.append(
            {
                "unit": "row",
                "weights": {},
                "rows": {},
                "rows_trained": {},
                "tokens": {},
                "trained_tokens": {},
                "capped": {},
                **record,
            }
        )
    return path


def make(
    name: str,
    rows: NDArray[np.int64],
    *,
    published: bool = False,
    names: Sequence[str] = (),
    seed: int = 0,
    batch: int = 32,
    unit: str = "row",
    update_every: int = 100,
    gradient_rows: int = 32,
    **parameters: Any,
) -> Method:
    """Build a method with these parameters."""
    settings = read_settings(find_settings(name, published=published), parameters)
    run = RunFacts(
        names=tuple(names),
        seed=seed,
        batch=batch,
        unit=unit,
        update_every=update_every,
        gradient_rows=gradient_rows,
        target=TARGET,
    )
    return make_method(name, rows, settings, run)


def needed(name: str, rows: NDArray[np.int64], folder: Path) -> dict[str, Any]:
    """The parameters without which a method cannot be."""
    if name == "target_loss":
        return {"goal_losses": dict.fromkeys(names(rows), 0.5)}
    if name == "replay":
        weights = dict(zip(names(rows), (rows / rows.sum()).tolist(), strict=True))
        start = {"step": 0, "event": "start", "weights": weights}
        end = {"step": 9, "event": "end", "weights": weights}
        return {"trace": write_trace(folder / "trace", start, end)}
    return {}


FORMS = (*METHODS, *(f"{name} published" for name in PUBLISHED))
"""Every method, and every published form of one."""


def build(form: str, rows: NDArray[np.int64], **chosen: Any) -> Method:
    """Build a method with its defaults but for what is chosen, and with what it cannot do without."""
    name, _, published = form.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        return make(
            name, rows, published=bool(published), names=names(rows), **needed(name, rows, Path(folder)), **chosen
        )


def shape_of(signal: str, rows: NDArray[np.int64]) -> tuple[int, ...]:
    """The shape of a signal's values."""
    return {"cell": rows.shape, "dataset": rows.shape[:1], "target": (len(rows), len(TARGET))}[SIGNALS[signal].shape]


def in_shape(signal: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A value of each dataset, float64[datasets], in the shape of a signal's values for one level; a copy."""
    shape = shape_of(signal, np.ones((len(values), 1), np.int64))
    return np.array(values if shape == values.shape else np.broadcast_to(values[:, None], shape))


def random_signals(rows: NDArray[np.int64], random: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Signals of ordinary size, a quarter of them not measured."""
    signals: dict[str, NDArray[np.float64]] = {}
    for name in SIGNALS:
        values = random.gamma(2, size=shape_of(name, rows))
        signals[name] = np.where(random.random(values.shape) < 0.25, np.nan, values)
    return signals
