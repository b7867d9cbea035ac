"""The state file: what was written comes back bit for bit, and anything else is refused in one sentence."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fuzzing import mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.training import checkpoint as state
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.checkpoint import STATE_FILE
from hbo_plugin.training.run import Run

CELLS = Cells(("a", "b"), np.array([[5, 6], [30, 40]]), np.ones(81, np.int32), ("x", "y"))


def balancer() -> Balancer:
    config = HBOConfig(levels=2)
    method = config.make_method(CELLS.sizes, CELLS.names, seed=3, batch=4)
    return Balancer(CELLS, config, method, seed=3, total=1000)


def trained() -> dict[str, Any]:
    """The state of a run after two updates."""
    run = balancer()
    for head in (100, 200):
        signals = {"gradient_norm": np.array([1 / 3, head]), "perplexity_ratio": np.full((2, 2), 0.1 + head)}
        run.count(run.mixture.fill(head - 100, 100))
        run.update(signals, head)
    run.packer = {"batches": 3, "waiting": [1, 2]}
    rest = {
        "step": "4 rows",
        "probes": {"seconds": 1},
        "reuse": {"seconds": 1},
        "overhead": {},
        "signals": {"s": 0.1},
        "delay": {},
        "elapsed": 2 / 3,
    }
    return {**run.state_dict(), **rest}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-8"
    state.write(folder, trained())
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_what_was_written_comes_back(checkpoint: Path) -> None:
    assert state.read(checkpoint) == {"version": 1, **trained()}
    assert {path.name for path in checkpoint.iterdir()} == {STATE_FILE, "trainer_state.json"}


def test_a_failed_write_leaves_the_state_as_it_was(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        state.write(checkpoint, {**trained(), "step": "8 rows"})
    assert state.read(checkpoint)["step"] == "4 rows"


def edited(**changes: Any) -> Callable[[bytes], bytes]:
    """A file in which somebody changed values by hand."""
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


def signed(**changes: Any) -> Callable[[bytes], bytes]:
    """A file with other values and a digest that fits them; None removes a key."""

    def change(content: bytes) -> bytes:
        whole = {**json.loads(content), **changes}
        whole = {key: value for key, value in whole.items() if key != "digest" and value is not None}
        return json.dumps({**whole, "digest": state._digest(whole)}).encode()

    return change


RESTORE = "restore the file, or remove the checkpoint and resume from the one before it."
DIGEST = f"is not as hbo wrote it: its content is not what its `digest` was taken of; {RESTORE}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        *(
            (lambda content, end=end: content[:end], f"is not as hbo wrote it: it is no JSON; {RESTORE}")
            for end in (0, 100, -1)
        ),
        (lambda _content: b"\x80\x04K\x01.", f"is not as hbo wrote it: it is no JSON; {RESTORE}"),
        (lambda _content: b"[" * 10**5, f"is not as hbo wrote it: it is no JSON; {RESTORE}"),
        (lambda _content: b"[1]", f"is not as hbo wrote it: it is no JSON object; {RESTORE}"),
        (lambda _content: b'{"epoch": 1.0}', f"is not as hbo wrote it: it has no `version`; {RESTORE}"),
        (
            edited(version=2),
            "has version `2` and this hbo reads 1: resume with the hbo that wrote it, or start afresh.",
        ),
        (
            edited(version=[0] * 9),
            "has version `[0, 0, 0, 0, 0, 0, ...]` and this hbo reads 1: resume with the hbo that wrote it, or start afresh.",
        ),
        (edited(rows_trained=[1, 2, 3, 4]), DIGEST),
        (edited(digest=None), DIGEST),
        (lambda content: content.replace(b"0.6666666666666666", b"0.6666666666666667"), DIGEST),
        (
            signed(rows_trained=[-1]),
            f"is not as hbo wrote it: what it has under `rows_trained.0` is not what belongs there (Input should be greater than or equal to 0); {RESTORE}",
        ),
        (
            signed(rows_trained=[1]),
            f"is not as hbo wrote it: it has not one entry for each cell and dataset; {RESTORE}",
        ),
        (
            signed(mixture=None),
            f"is not as hbo wrote it: what it has under `mixture` is not what belongs there (Field required); {RESTORE}",
        ),
    ],
)
def test_a_damaged_file_is_a_sentence(checkpoint: Path, change: Callable[[bytes], bytes], sentence: str) -> None:
    path = checkpoint / STATE_FILE
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        state.read(checkpoint)
    assert str(error.value) == f"`{path}` {sentence}"


@pytest.mark.parametrize(
    ("content", "found"), [(None, "is missing"), (b"", "is cut short"), (b'{"epoch": 0.5, "log_his', "is cut short")]
)
def test_an_incomplete_checkpoint_is_a_sentence(checkpoint: Path, content: bytes | None, found: str) -> None:
    path = checkpoint / "trainer_state.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        state.read(checkpoint)
    assert str(error.value) == (
        f"the checkpoint `{checkpoint}` is incomplete, because `trainer_state.json`, its last file, {found}: "
        f"resume from the checkpoint before it."
    )


def test_a_checkpoint_that_is_written_anew_is_incomplete_until_it_is_whole(checkpoint: Path) -> None:
    """A run that went on from an earlier checkpoint writes over a later one, and may die at that."""
    assert state.newest_checkpoints(checkpoint.parent) == (checkpoint, [])
    state.write(checkpoint, trained())
    assert state.newest_checkpoints(checkpoint.parent) == (None, [checkpoint])


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        state.read(tmp_path / "checkpoint-9")
    assert str(error.value) == (
        f"there is no checkpoint `{tmp_path}/checkpoint-9`: change `resume_from_checkpoint`, or remove it to start afresh."
    )


WHOLE = json.loads(json.dumps(trained()))


@settings(max_examples=300)
@given(st.data())
def test_any_edit_is_refused_unless_it_changes_nothing(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "edited"
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text("{}")
    whole = {"version": 1, **WHOLE, "digest": state._digest({"version": 1, **WHOLE})}
    (folder / STATE_FILE).write_text(json.dumps(mutated(whole, data), indent=data.draw(st.sampled_from([None, 1]))))
    try:
        read = state.read(folder)
    except ValueError as error:
        assert str(error).startswith(f"`{folder / STATE_FILE}` ")  # noqa: PT017 it may also be accepted
    else:
        assert json.dumps(read, sort_keys=True) == json.dumps({"version": 1, **WHOLE}, sort_keys=True)


def loading() -> Run:
    """As much of a run as takes up a state: its parts are those of `trained`."""
    run = object.__new__(Run)
    run.balancer, run.bins = balancer(), None
    run._batches_per_step, run._micro_batch = 2, 2
    run._probes = run._reuse = SimpleNamespace(load_state_dict=lambda saved: saved["seconds"])  # type: ignore[assignment]
    run.clock = SimpleNamespace(seconds={})  # type: ignore[assignment]
    return run


@settings(max_examples=300)
@given(st.data())
def test_any_state_of_a_run(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """Changed in any way and signed again: as one of another hbo of this version would be."""
    folder = tmp_path_factory.getbasetemp() / "signed"
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text("{}")
    whole = mutated({"version": 1, **WHOLE}, data)
    (folder / STATE_FILE).write_text(json.dumps({**whole, "digest": state._digest(whole)}))
    try:
        loading().load(folder)
    except ValueError as error:
        assert "`" in str(error)  # noqa: PT017 it may also be accepted
