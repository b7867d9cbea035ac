"""The journal: whatever the names of datasets are, every scalar arrives, also where a logger keeps each in a file."""

import io
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

from transformers.integrations.integration_utils import MLflowCallback

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.data.load import RunData
from hbo_plugin.data.names import metric_names
from hbo_plugin.signals.context import HeldOutRows
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.journal import Journal
from hbo_plugin.training.step_shape import StepShape

NAMES = ["x", "x/0", "x\\0", "X", "sea", "sea/weather", "sea-weather", "数学", "代码", "数", "🙂", "🚀", "..", "/", "~"]
NAMES += ["[red]", "[/]", "100%", '"quoted"', "it's", "target", "a" * 5000, "a" * 5000 + "b", "語" * 200, "overhead"]
SIGNALS = {"gradient_norm": 1, "perplexity_ratio": 2}
"""The dimensions of each."""


def updated(names: list[str], folder: Path, *, writes: bool) -> Journal:
    """The journal of a run on datasets of two levels after an update, with `log_levels: true`."""
    count = len(names)
    cells = Cells(
        tuple(names), np.full((count, 2), 5), np.ones(10 * count, np.int32), np.ones(10 * count, np.int32), tuple(names)
    )
    config = HBOConfig(levels=2)
    method = config.make_method(cells.sizes, cells.names, seed=3, batch=4)
    balancer = Balancer(cells, config, method, seed=3, steps=100, capacity=1)
    data = RunData(None, cells, HeldOutRows(), metric_names(names))
    shape = StepShape(micro_batch=2, batches=2, steps=50)
    journal = Journal(folder, balancer, shape, Clock(), data, writes=writes, log_levels=True)
    balancer.count(np.arange(10 * count))
    signals = {name: np.ones((count, 2)[:dimensions]) for name, dimensions in SIGNALS.items()}
    journal.update(10, 40, signals, (balancer.weights(), balancer.capped), {})
    return journal


@pytest.fixture
def scalars(tmp_path: Path) -> dict[str, float]:
    """Of a line of the log, and of an evaluation."""
    losses = {f"eval_{name}_loss": 1.0 for name in (*metric_names(NAMES).values(), "target")}
    return updated(NAMES, tmp_path, writes=False).scalars(()) | losses


def test_every_scalar_arrives_in_a_store_of_files(scalars: dict[str, float], tmp_path: Path) -> None:
    """The Trainer's own callback writes to the store, which is like that of mlflow on a disk that ignores case."""

    def log_metrics(metrics: dict[str, float], **_: Any) -> None:
        for name, value in metrics.items():
            path = tmp_path / name.lower()
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(f"{value}\n")

    callback = MLflowCallback.__new__(MLflowCallback)  # without mlflow itself
    vars(callback).update(_initialized=True, _async_log=False, _auto_end_run=False)
    callback._ml_flow = SimpleNamespace(log_metrics=log_metrics)
    callback.on_log(None, SimpleNamespace(is_world_process_zero=True, global_step=1), None, scalars)
    stored = [path.read_text().splitlines() for path in tmp_path.rglob("*") if path.is_file()]
    assert {len(values) for values in stored} == {1}
    assert len(stored) == len(scalars)


def test_the_line_about_new_weights_survives_an_encoding_that_lacks_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    updated(["数学", "[/]"], tmp_path, writes=True)
    sys.stdout.flush()
    assert raw.getvalue() == b"hbo: step 10: ?? 50.0% ? 50.0%, [/] 50.0% ? 50.0%\n"


def test_every_dataset_and_level_has_its_scalars(scalars: dict[str, float]) -> None:
    for kind in ("weight", "share/row", "share/token", "epochs", *(f"signal/{name}" for name in SIGNALS)):
        assert sum(key.startswith(f"hbo/{kind}/") for key in scalars) == len(NAMES)
    for kind in ("level_weight", "level_signal/perplexity_ratio"):
        assert sum(key.startswith(f"hbo/{kind}/") for key in scalars) == 2 * len(NAMES)
    assert all(map(math.isfinite, scalars.values()))
