"""The trace: a kill and a full disk cost lines and not the file, and what this version did not write is refused."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hbo_plugin.history import Evaluation
from hbo_plugin.trace import TRACE_FILE, JsonLines, Trace


@pytest.fixture(params=[JsonLines, Trace])
def kind(request: pytest.FixtureRequest) -> type[JsonLines]:
    kind: type[JsonLines] = request.param
    return kind


@pytest.fixture
def path(tmp_path: Path, kind: type[JsonLines]) -> Path:
    path = tmp_path / TRACE_FILE
    trace = kind(path)
    trace.begin(0)
    for step in range(5):
        trace.append({"step": step, "value": step / 3})
    return path


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """While open, no file of this process can grow beyond `size` bytes: a write takes what has room, and fails."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_resumed_run_drops_what_came_after_its_checkpoint(path: Path, kind: type[JsonLines]) -> None:
    file = kind(path)
    file.begin(3)
    file.append({"step": 4})
    assert file.read() == [*({"step": step, "value": step / 3} for step in range(4)), {"step": 4}]
    file.begin(0)
    assert file.read() == []


@pytest.mark.parametrize("end", [b'{"step": 5, "val', b"\xff\x00"])
def test_a_line_that_a_kill_cut_short_is_left_out(path: Path, kind: type[JsonLines], end: bytes) -> None:
    path.write_bytes(path.read_bytes() + end)
    file = kind(path)
    assert [record["step"] for record in file.read()] == [0, 1, 2, 3, 4]
    file.begin(4)
    file.append({"step": 5})
    assert [record["step"] for record in file.read()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("line", [b"", b"\xff\x00", b"{step: 2}", b"[2]", b"2", b"{}", b'{"step": "2"}', b"[" * 10**5])
def test_a_line_that_no_run_wrote_is_refused(path: Path, kind: type[JsonLines], line: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[2] = line
    path.write_bytes(b"\n".join(lines))
    for act in (kind(path).read, lambda: kind(path).begin(4)):
        with pytest.raises(ValueError, match="line 3") as error:
            act()
        assert str(error.value) == f"line 3 of `{path}` is not as hbo wrote it: restore the file, or move it away."


@pytest.mark.parametrize(
    ("first", "shown"),
    [(b'{"hbo_trace": 0}\n', '{"hbo_trace": 0}'), (b"", '{"step": 0, "event": "start"}'), (None, "")],
)
def test_a_trace_of_another_version_is_refused(tmp_path: Path, first: bytes | None, shown: str) -> None:
    path = tmp_path / TRACE_FILE
    path.write_bytes(b"" if first is None else first + b'{"step": 0, "event": "start"}\n')
    for act in (Trace(path).read, lambda: Trace(path).begin(4), Trace(path).history):
        with pytest.raises(ValueError, match="begins with") as error:
            act()
        assert str(error.value) == (
            f"`{path}` begins with `{shown}`, but this version of hbo reads files that begin with "
            '`{"hbo_trace": 1}`: use the version that wrote it, or move the file away.'
        )


def state(step: int, event: str, *weights: float) -> dict[str, Any]:
    """A record of a run on two datasets, of two levels and of one."""
    a, b, c = weights
    counts = {"d0": [step, step], "d1": [2 * step, 0]}
    return {
        "step": step,
        "event": event,
        "unit": "row",
        "weights": {"d0": [a, b], "d1": [c, 0.0]},
        "rows": {"d0": [5, 5], "d1": [7, 0]},
        "rows_trained": counts,
        "tokens": counts,
        "trained_tokens": counts,
        "capped": {"d0": [False, False], "d1": [False, False]},
    }


def test_a_history_is_what_a_run_wrote(tmp_path: Path) -> None:
    trace = Trace(tmp_path / TRACE_FILE)
    trace.begin(0)
    for record in (
        {**state(0, "start", 0.25, 0.25, 0.5), "entries": {"d0": {"path": "d0.jsonl"}}},
        state(10, "update", 0.5, 0.25, 0.25),
        {"step": 10, "event": "evaluate", "held_out": {"exam": 2.5}, "tied": {"d1": "exam"}, "target": 2.5},
    ):
        trace.append(record)
    history = trace.history()
    assert history.datasets == ("d0", "d1")
    assert history.entries == {"d0": {"path": "d0.jsonl"}}
    assert [(each.step, each.weight("d0")) for each in history.states] == [(0, 0.5), (10, 0.75)]
    assert history.states[1].rows_trained == {"d0": [10, 10], "d1": [20, 0]}
    assert history.evaluations == (Evaluation(10, {"exam": 2.5}, {"d1": "exam"}, 2.5),)
    assert [history.evaluations[0].loss(name) for name in history.datasets] == [None, 2.5]
    assert not history.ended
    trace.append(state(12, "end", 0.5, 0.25, 0.25))
    assert [each.step for each in trace.history().states] == [0, 10, 12]
    assert trace.history().ended


@settings(max_examples=60)
@given(st.lists(st.text(max_size=40), max_size=6), st.sampled_from([b"", b'{"step": 9']), st.integers(1, 64))
def test_the_last_record_is_that_of_all(texts: list[str], cut: bytes, block: int) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("hbo_plugin.trace._BLOCK", block)
        path = Path(folder) / TRACE_FILE
        trace = Trace(path)
        assert trace.last() is None
        trace.begin(0)
        for step, text in enumerate(texts):
            trace.append({"step": step, "text": text})
        path.write_bytes(path.read_bytes() + cut)
        assert trace.last() == next(iter(reversed(trace.read())), None)


def test_a_run_that_did_not_begin_has_no_history(tmp_path: Path) -> None:
    trace = Trace(tmp_path / TRACE_FILE)
    for found in ("does not exist", "holds no step yet"):
        with pytest.raises(ValueError, match="choose") as error:
            trace.history()
        assert str(error.value) == (
            f"`{tmp_path / TRACE_FILE}` {found}; a run with `hbo:` writes it from the start of its training: "
            f"choose such a run."
        )
        trace.begin(0)


def test_a_record_without_a_key_is_refused(tmp_path: Path) -> None:
    trace = Trace(tmp_path / TRACE_FILE)
    trace.begin(0)
    trace.append({"step": 0, "event": "start"})
    with pytest.raises(ValueError, match="unit") as error:
        trace.history()
    assert str(error.value) == (
        f"`{tmp_path / TRACE_FILE}` has a line without `unit`: restore the file, or move it away."
    )


def test_a_full_disk_costs_lines_and_not_the_training(
    path: Path, kind: type[JsonLines], caplog: pytest.LogCaptureFixture
) -> None:
    file = kind(path)
    with full_disk(path.stat().st_size + 5), caplog.at_level(logging.WARNING):
        file.append({"step": 5, "value": 1})
        file.append({"step": 6, "value": 1})
    file.append({"step": 7})
    file.append({"step": 8})
    assert caplog.messages == [
        f"hbo: a line of `{path}` could not be written at step {step} (File too large); "
        f"the training goes on without it ({lost} lost)."
        for step, lost in ((5, 1), (6, 2))
    ]
    assert file.read()[5:] == [{"step": 7, "lost": 2}, {"step": 8}]


def test_a_file_that_cannot_be_written_stops_the_run_before_it_trains(path: Path, kind: type[JsonLines]) -> None:
    def check(path: Path, reason: str) -> None:
        with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
            kind(path).begin(4)
        assert str(error.value) == (
            f"`{path}` cannot be written ({reason}): make room, or give an `output_dir` that this user may write to."
        )

    lines = path.read_bytes()
    with full_disk(len(lines) // 2):
        check(path, "File too large")
    assert path.read_bytes() == lines
    check(path / TRACE_FILE, "File exists")
