"""Signals of pairs: those of the rows that were trained on, for nothing, and kept in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pairs import FOLLOWED, of_kind
from resume import assert_resumes
from runs import STILL, Config, history, lines, read_trace, train

from hbo_plugin import drawn_rows
from hbo_plugin.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.axolotl

OF_PAIRS = [name for name, kind in KINDS.items() if kind.source == "pairs"]
NAMES = ("a", "b", "c")
EVERY_STEP = {"update_every": 3, "forward_rows": 64}
"""So many rows of each cell are looked at between two updates that no step is left out."""
LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
METRICS = {"orpo": "log_odds_chosen", "reward_model": "margin"}
"""What TRL calls the mean margin of a step where it is not `rewards/margins`."""


@pytest.fixture
def of(make_config: Any, tmp_path: Path) -> Callable[..., Config]:
    """A function that gives a configuration of a kind with an `hbo:` block; keywords replace keys."""

    def make(kind: str, hbo: Config, **changes: Any) -> Config:
        config = make_config(**{"micro_batch_size": 4, "max_steps": 6, "save_steps": 6, **changes})
        return of_kind({**config, "hbo": {"levels": 2, "record_rows": True, **EVERY_STEP, **hbo}}, kind, tmp_path)

    return make


def logged(folder: Path, signal: str) -> dict[str, dict[int, float]]:
    """The mean of each dataset, by step."""
    return {name: history(folder, f"hbo/{signal}/{name}") for name in NAMES}


CASES: list[tuple[str, Config]] = [
    *((kind, {}) for kind in OF_PAIRS),
    ("dpo", {"precompute_ref_log_probs": True}),
    ("ipo", LORA),  # the model is its own reference
]


@pytest.mark.parametrize(
    ("kind", "options"), CASES, ids=lambda value: value if isinstance(value, str) else [*value][:1]
)
def test_signals_are_those_of_the_rows(of: Any, kind: str, options: Config) -> None:
    from margins import margins

    config = of(kind, FOLLOWED, learning_rate=STILL, **options)
    config["plugins"] += ["margins.MarginsPlugin"]
    folder = train(config)
    rows = [*drawn_rows(folder)]
    found = np.array(margins(kind, config.get("rl_beta", 0.1)))[: len(rows)]
    assert found.std() > 0.01  # the policy differs from its reference, and answers differ
    values = {"margin": found, "pair_loss": np.log1p(np.exp(-found))}
    for signal, of_rows in values.items():
        for name in NAMES:
            for step in range(1, 7):
                there = [row.step == step and row.dataset == name for row in rows]
                seen = logged(folder, signal)[name].get(step)
                assert seen == (pytest.approx(of_rows[there].mean(), abs=2e-5) if any(there) else None)
        (update,) = (record for record in read_trace(folder) if record["event"] == "update")
        for name in NAMES:
            for level, measured in enumerate(update["signals"][signal][name]):
                there = [row.step <= 3 and (row.dataset, row.level) == (name, level) for row in rows]
                assert measured == (pytest.approx(of_rows[there].mean(), abs=2e-5) if any(there) else None)


@pytest.mark.parametrize("kind", OF_PAIRS)
def test_a_static_run_logs_what_trl_does_and_trains_as_if_nobody_looked(of: Any, tmp_path: Path, kind: str) -> None:
    """`signals: probe` looks at no training batch. A dropout of its own shows whether random numbers are left alone."""
    looked, blind = (
        train(of(kind, {"method": "static", **more}, output_dir=str(tmp_path / name), **LORA, lora_dropout=0.3))
        for name, more in (("looked", {}), ("blind", {"signals": "probe"}))
    )
    assert not any(logged(blind, "margin").values())
    metric = METRICS.get(kind, "rewards/margins")
    for key in ("loss", "grad_norm", "hbo/weight/a", metric):
        assert history(looked, key) == history(blind, key)
        assert history(looked, key)
    assert lines(looked / "hbo_rows.jsonl") == lines(blind / "hbo_rows.jsonl")
    drawn = [(row.step, row.dataset) for row in drawn_rows(looked)]
    for signal, wanted in {
        "margin": metric,
        **({"pair_loss": "loss"} if kind in ("dpo", "reward_model") else {}),
    }.items():
        means = logged(looked, signal)
        for step in range(1, 6):  # of the last batch of a loader, accelerate leaves rows out for some of TRL's metrics
            counts = [drawn.count((step, name)) for name in NAMES]
            values = [means[name].get(step, 0) for name in NAMES]
            assert np.average(values, weights=counts) == pytest.approx(history(looked, wanted)[step], abs=1e-5)


@pytest.mark.parametrize("kind", ["dpo", "reward_model"])
def test_a_killed_run_goes_on_measuring(of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The checkpoint of step 4 is between two updates, and between two lines of the log."""
    config = of(kind, FOLLOWED, max_steps=12, save_steps=4, logging_steps=3)
    # The Trainer's own mean forgets what it saw before the checkpoint.
    died = assert_resumes(config, monkeypatch, crash_at=5, losses=False)
    updates = [record for record in read_trace(died) if record["event"] == "update"]
    assert [record["step"] for record in updates] == [3, 6, 9]
    assert updates[0]["weights"] != updates[-1]["weights"]
    for signal in ("margin", "pair_loss"):
        assert {3, 6, 9, 12} <= set().union(*logged(died, signal).values())
        assert logged(died, signal) == logged(tmp_path / "whole", signal)


def test_two_ranks_measure_as_one(of: Any, tmp_path: Path) -> None:
    from launch import start

    config = of("dpo", FOLLOWED, micro_batch_size=2)
    config["plugins"] += ["cpu_ranks.CPURanksPlugin"]
    alone = train({**config, "micro_batch_size": 4, "output_dir": str(tmp_path / "alone")})
    done = start(config, 2)
    assert done.returncode == 0, done.stderr[-2000:]
    together = Path(config["output_dir"])
    assert lines(together / "hbo_rows.jsonl") == lines(alone / "hbo_rows.jsonl")
    for signal in ("margin", "pair_loss"):
        for name in NAMES:
            found, wanted = (logged(folder, signal)[name] for folder in (together, alone))
            assert found == pytest.approx(wanted, abs=1e-5)
    weights = [
        [[*record["weights"].values()] for record in read_trace(folder) if "weights" in record]
        for folder in (together, alone)
    ]
    assert len(weights[1]) == 3
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-3)


def source(kind: str, trainer: Any = None) -> Any:
    """A source over two datasets of two rows each."""
    from hbo_plugin.cells import Cells
    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.pairs import Pairs

    counts = np.ones(4, np.int32)
    cells = Cells(("a", "b"), np.array([[2], [2]]), counts, counts, ("", ""))
    return Pairs(("margin",), Context(trainer, cells, kind=KINDS[kind]))


def test_a_margin_that_is_not_finite_is_left_out_and_counted() -> None:
    import torch

    from hbo_plugin.signals.sources import Batch

    seen = source("reward_model")
    scores = torch.tensor([2.0, float("nan"), 3.0, 0.5, 1.0, 1.0])[:, None]
    with seen.watching():
        seen.observe(Batch({}, {"logits": scores}, [[0], [2], [1]]))
    seen.gather()
    assert seen.dropped == 1
    assert seen.take_means()["margin"] == {"a": 1.75}
    assert seen.take_means() == {"margin": {}, "pair_loss": {}}
    np.testing.assert_array_equal(seen.measure(1)["margin"], [[1.75], [np.nan]])


def test_a_reference_that_nobody_saw_is_an_error() -> None:
    from torch import nn

    from hbo_plugin.signals.sources import Batch

    trainer = SimpleNamespace(model=nn.Linear(1, 1), ref_model=None)
    seen = source("dpo", trainer)
    with seen.watching(), pytest.raises(RuntimeError) as error:
        seen.observe(Batch({}, {}, [[0]]))
    assert str(error.value) == (
        "the trainer ran no reference model that hbo saw; set `precompute_ref_log_probs: true`, or `hbo.signals: probe` with "
        "`method: static`."
    )
    assert not trainer.model._forward_hooks


@pytest.mark.parametrize(("kind", "method"), [("orpo", "odds_ratio_loss"), ("simpo", "cpo_loss")])
def test_a_trainer_without_what_is_looked_at_is_an_error(kind: str, method: str) -> None:
    seen = source(kind, SimpleNamespace())
    with (
        pytest.raises(RuntimeError, match=rf"^`SimpleNamespace\.{method}` was not found: hbo works with axolotl"),
        seen.watching(),
    ):
        pass
