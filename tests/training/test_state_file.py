"""The state files: what was written comes back bit for bit, and anything else is refused with a clear error."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import mutated
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from hbo_plugin.args import HBOConfig  # noqa: E402
from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.training import state_file  # noqa: E402
from hbo_plugin.training.balancer import Balancer  # noqa: E402
from hbo_plugin.training.state_file import STATE_FILE, TENSORS_FILE  # noqa: E402

TENSORS = {
    "reuse/first": torch.tensor([[1 / 3, float("nan")]], dtype=torch.float64),
    "method/step": torch.tensor(7),
    "method/none": torch.empty((0, 4)),
}


def trained() -> dict[str, Any]:
    """The state of a run after two updates."""
    cells = Cells(("a", "b"), np.array([[5, 6], [30, 40]]), np.ones(81, np.int32), np.ones(81, np.int32), ("x", "y"))
    config = HBOConfig(levels=2)
    balancer = Balancer(
        cells, config, config.make_method(cells.sizes, cells.names, seed=3, batch=4), seed=3, steps=1000, capacity=1
    )
    for head in (100, 200):
        signals = {"gradient_norm": np.array([1 / 3, head]), "perplexity_ratio": np.full((2, 2), 0.1 + head)}
        balancer.count(balancer.mixture.fill(head - 100, 100))
        balancer.update(signals, head)
    return {
        **balancer.state_dict(),
        "batcher": {"head": 200},
        "step": "4 rows",
        "sources": {"probe": {"dropped": 1}},
        "overhead": {},
        "signals": {"s": 0.1},
        "row_weights": {},
        "weighing": {},
        "delay": {},
        "losses": {},
        "elapsed": 2 / 3,
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A whole one, without tensors."""
    return written(tmp_path / "checkpoint-8", {})


def written(folder: Path, tensors: dict[str, Any]) -> Path:
    state_file.write(folder, trained(), tensors)
    (folder / "trainer_state.json").write_text("{}")
    return folder


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_state_comes_back(checkpoint: Path) -> None:
    assert state_file.read(checkpoint) == ({"version": 1, **trained(), "tensors": None}, {})
    assert files(checkpoint) == {STATE_FILE, "trainer_state.json"}


def test_tensors_come_back(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint-8", TENSORS)
    state, tensors = state_file.read(folder)
    assert {**state, "tensors": None} == {"version": 1, **trained(), "tensors": None}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name].nan_to_num(-1), tensor.nan_to_num(-1))
        assert tensors[name].shape == tensor.shape
    assert files(folder) == {STATE_FILE, TENSORS_FILE, "trainer_state.json"}


def test_tensors_of_an_earlier_run_do_not_stay(tmp_path: Path) -> None:
    folder = written(tmp_path / "checkpoint-8", TENSORS)
    assert state_file.read(written(folder, {}))[1] == {}
    assert files(folder) == {STATE_FILE, "trainer_state.json"}


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_write_leaves_both_files_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The disk fills up while the first of them is written, or the second."""
    folder = written(tmp_path / "checkpoint-8", TENSORS)
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    calls = []

    def full(_file: int) -> None:
        calls.append(1)
        if len(calls) == failing:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        state_file.write(folder, {**trained(), "step": "8 rows"}, {"reuse/first": torch.zeros(9)})
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert state_file.read(folder)[0]["step"] == "4 rows"


def edited(**changes: Any) -> Callable[[bytes], bytes]:
    """A file in which somebody changed values by hand."""
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


def with_digest(state: dict[str, Any]) -> bytes:
    """A state as a file whose digest fits it."""
    return json.dumps({**state, "digest": state_file._digest(state_file._canonical(state))}).encode()


def signed(**changes: Any) -> Callable[[bytes], bytes]:
    """A file with other values and a digest that fits them; None removes a key."""

    def change(content: bytes) -> bytes:
        whole = {**json.loads(content), **changes}
        removed = {"digest", *(key for key, value in changes.items() if value is None)}
        return with_digest({key: value for key, value in whole.items() if key not in removed})

    return change


RESTORE = "restore the file, or remove the checkpoint and resume from the one before it."
DIGEST = f"is not as hbo wrote it: its content does not match its `digest`; {RESTORE}"


@pytest.mark.parametrize(
    ("change", "message"),
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
            "has version `2`, but this hbo reads 1; resume with the hbo that wrote it, or start afresh.",
        ),
        (
            edited(version=[0] * 9),
            "has version `[0, 0, 0, 0, 0, 0, ...]`, but this hbo reads 1; resume with the hbo that wrote it, or start afresh.",
        ),
        (edited(rows_trained=[1, 2, 3, 4]), DIGEST),
        (edited(digest=None), DIGEST),
        (lambda content: content.replace(b"0.6666666666666666", b"0.6666666666666667"), DIGEST),
        (
            signed(rows_trained=[-1]),
            f"is not as hbo wrote it: its `rows_trained.0` cannot be right (Input should be greater than or equal to 0); {RESTORE}",
        ),
        (
            signed(rows_trained=[1]),
            f"is not as hbo wrote it: it has not one entry for each cell and dataset; {RESTORE}",
        ),
        (
            signed(mixture=None),
            f"is not as hbo wrote it: its `mixture` cannot be right (Field required); {RESTORE}",
        ),
    ],
)
def test_a_damaged_state_is_refused(checkpoint: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = checkpoint / STATE_FILE
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        state_file.read(checkpoint)
    assert str(error.value) == f"`{path}` {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda _content, _other: None, "it is missing", id="missing"),
        pytest.param(
            lambda content, _other: content[:-1], f"its content does not match the digest in `{STATE_FILE}`", id="cut"
        ),
        pytest.param(
            lambda _content, other: other, f"its content does not match the digest in `{STATE_FILE}`", id="exchanged"
        ),
    ],
)
def test_damaged_tensors_are_refused(
    tmp_path: Path, change: Callable[[bytes, bytes], bytes | None], message: str
) -> None:
    """Cut short, lost, or those of another checkpoint, which are whole and of the same shapes."""
    folder = written(tmp_path / "checkpoint-8", TENSORS)
    other = written(tmp_path / "checkpoint-4", {**TENSORS, "method/step": torch.tensor(3)}) / TENSORS_FILE
    path = folder / TENSORS_FILE
    content = change(path.read_bytes(), other.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        state_file.read(folder)
    assert str(error.value) == f"`{path}` is not as hbo wrote it: {message}; {RESTORE}"


@pytest.mark.parametrize(
    ("content", "found"), [(None, "is missing"), (b"", "is cut short"), (b'{"epoch": 0.5, "log_his', "is cut short")]
)
def test_an_incomplete_checkpoint_is_refused(checkpoint: Path, content: bytes | None, found: str) -> None:
    path = checkpoint / "trainer_state.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        state_file.read(checkpoint)
    assert str(error.value) == (
        f"the checkpoint `{checkpoint}` is incomplete, because `trainer_state.json`, its last file, {found}; "
        f"resume from the checkpoint before it."
    )


def test_a_checkpoint_that_is_written_anew_is_incomplete_until_it_is_whole(checkpoint: Path) -> None:
    """A run that went on from an earlier checkpoint writes over a later one, and may die at that."""
    assert state_file.newest_checkpoints(checkpoint.parent) == (checkpoint, [])
    state_file.write(checkpoint, trained(), {})
    assert state_file.newest_checkpoints(checkpoint.parent) == (None, [checkpoint])


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        state_file.read(tmp_path / "checkpoint-9")
    assert str(error.value) == (
        f"there is no checkpoint `{tmp_path}/checkpoint-9`; change `resume_from_checkpoint`, or remove it to start afresh."
    )


@settings(max_examples=300)
@given(st.data())
def test_any_edit_is_refused_unless_it_changes_nothing(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "edited"
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text("{}")
    whole = json.loads(with_digest({"version": 1, **WHOLE, "tensors": None}))
    (folder / STATE_FILE).write_text(json.dumps(mutated(whole, data), indent=data.draw(st.sampled_from([None, 1]))))
    try:
        state, _ = state_file.read(folder)
    except ValueError as error:
        assert str(error).startswith(f"`{folder / STATE_FILE}` ")  # noqa: PT017 it may also be accepted
    else:
        assert json.dumps(state, sort_keys=True) == json.dumps({"version": 1, **WHOLE, "tensors": None}, sort_keys=True)


WHOLE = json.loads(json.dumps(trained()))
