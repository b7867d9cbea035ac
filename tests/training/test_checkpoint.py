"""The checkpoint of a run: it keeps every part, arrays too, and what does not fit is refused with a clear error."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keeper
import numpy as np
import pytest
from fuzzing import mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from resume import assert_resumes

torch = pytest.importorskip("torch")

from hbo_plugin.args import HBOConfig  # noqa: E402
from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.clock import Clock  # noqa: E402
from hbo_plugin.data.load import RunData  # noqa: E402
from hbo_plugin.signals.context import Context, HeldOutRows  # noqa: E402
from hbo_plugin.signals.reuse import Reuse  # noqa: E402
from hbo_plugin.training import checkpoint, state_file  # noqa: E402
from hbo_plugin.training.balancer import Balancer  # noqa: E402
from hbo_plugin.training.journal import Journal  # noqa: E402
from hbo_plugin.training.overfitting import Overfitting  # noqa: E402
from hbo_plugin.training.state_file import STATE_FILE, TENSORS_FILE  # noqa: E402
from hbo_plugin.training.step_shape import StepShape  # noqa: E402

CELLS = Cells(("a", "b"), np.array([[5, 6], [30, 40]]), np.ones(81, np.int32), np.ones(81, np.int32), ("x", "y"))
SIGNALS = {"gradient_norm": np.array([1 / 3, 2]), "perplexity_ratio": np.full((2, 2), 0.1)}


def untrained() -> Any:
    """As much of a run as a checkpoint knows, before its first step."""
    config, shape, clock = HBOConfig(levels=2), StepShape(micro_batch=2, batches=2, steps=50), Clock()
    method = config.make_method(CELLS.sizes, CELLS.names, seed=3, batch=4)
    balancer = Balancer(CELLS, config, method, seed=3, steps=200, capacity=1)
    data = RunData(None, CELLS, HeldOutRows(), {"a": "a", "b": "b"})
    journal = Journal(Path(), balancer, shape, clock, data, writes=False)
    sources = {"reuse": Reuse(method.signals, Context(None, CELLS))}
    return SimpleNamespace(
        balancer=balancer,
        journal=journal,
        shape=shape,
        sources=sources,
        watching=SimpleNamespace(weighing=None),
        overfitting=Overfitting({}),
        done=None,
    )


def trained() -> Any:
    """The same after an update."""
    run = untrained()
    run.balancer.count(run.balancer.mixture.fill(0, 100))
    run.balancer.update(SIGNALS, 100)
    run.journal.update(25, 100, SIGNALS, (run.balancer.weights(), run.balancer.capped), {})
    run.sources["reuse"]._first[:] = [1 / 3, np.nan, 2, 3]
    run.sources["reuse"].dropped = 4
    run.done = {"head": 100}
    return run


def saved(folder: Path) -> Path:
    """A whole checkpoint of it."""
    checkpoint.save(trained(), folder)
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_a_run_continues_with_every_part(tmp_path: Path) -> None:
    run, whole = untrained(), trained()
    checkpoint.load(run, saved(tmp_path / "checkpoint-25"))
    assert run.balancer.state_dict() == whole.balancer.state_dict()
    assert run.done == {"head": 100}
    assert run.sources["reuse"].dropped == 4
    np.testing.assert_array_equal(run.sources["reuse"]._first, whole.sources["reuse"]._first)
    scalars = run.journal.scalars(())
    assert scalars["hbo/signal/gradient_norm/a"] == 1 / 3
    assert scalars["hbo/delay/steps"] == 0


def test_other_sources_are_refused(tmp_path: Path) -> None:
    run = untrained()
    run.sources = {name: SimpleNamespace(names=("loss",)) for name in ("probe", "held_out")}
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        checkpoint.load(run, saved(tmp_path / "checkpoint-25"))
    assert str(error.value) == (
        "the checkpoint measured signals by `reuse`, but this run does by `probe`, `held_out`; set `hbo.signals`, "
        "`hbo.reward` and the options of the loss as they were, or start afresh."
    )


def test_tensors_of_another_version_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "checkpoint-25")
    state, tensors = state_file.read(folder)
    del tensors["reuse/first"]
    state_file.write(folder, state, tensors)
    (folder / "trainer_state.json").write_text("{}")
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        checkpoint.load(untrained(), folder)
    assert str(error.value) == (
        f"the state in `{folder}` does not fit this run (KeyError('first')); resume with the hbo and the method that wrote "
        "it, or start afresh."
    )


@settings(max_examples=300)
@given(st.data())
def test_any_state_loads_or_is_refused(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Changed in any way and signed again: as one of another hbo of this version would be."""
    folder = tmp_path_factory.getbasetemp() / "signed"
    if not folder.exists():
        (saved(folder) / STATE_FILE).rename(folder / "whole")
    whole = json.loads((folder / "whole").read_bytes())
    del whole["digest"]
    changed = mutated(whole, data)
    digest = state_file._digest(state_file._canonical(changed))
    (folder / STATE_FILE).write_text(json.dumps({**changed, "digest": digest}))
    try:
        checkpoint.load(untrained(), folder)
    except ValueError as error:
        assert "`" in str(error)  # noqa: PT017 it may also be accepted


@pytest.mark.axolotl
def test_arrays_of_a_source_and_of_a_method_survive_a_kill(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.register(monkeypatch)
    hbo = {"method": "keeper.Remembers", "update_every": 3, "levels": 2, "record_rows": True}
    folder = assert_resumes(make_config(hbo=hbo), monkeypatch, crash_at=7)
    state, tensors = state_file.read(folder / "checkpoint-4")
    kept = {"keeper/kept", "method/memory"}
    assert tensors.keys() == {*kept, "reuse/losses"}
    assert state["sources"] == {"keeper": {"dropped": 0}, "reuse": {"dropped": 0}}
    later = state_file.read(folder / "checkpoint-12")[1]
    assert all(not torch.equal(tensors[name], later[name]) for name in kept)
    assert (folder / "checkpoint-12" / TENSORS_FILE).exists()
