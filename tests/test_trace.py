"""The trace: its lines survive a kill, a full disk costs lines and not the training, and what no run wrote is refused."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from hbo_plugin.cli import report
from hbo_plugin.trace import TRACE_FILE, Trace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / TRACE_FILE
    trace = Trace(path)
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


def test_a_resumed_run_drops_what_came_after_its_checkpoint(path: Path) -> None:
    trace = Trace(path)
    trace.begin(3)
    trace.append({"step": 4})
    assert trace.read() == [*({"step": step, "value": step / 3} for step in range(4)), {"step": 4}]
    trace.begin(0)
    assert trace.read() == []


@pytest.mark.parametrize("end", [b'{"step": 5, "val', b"\xff\x00"])
def test_a_line_that_a_kill_cut_short_is_left_out(path: Path, end: bytes) -> None:
    path.write_bytes(path.read_bytes() + end)
    trace = Trace(path)
    assert [record["step"] for record in trace.read()] == [0, 1, 2, 3, 4]
    trace.begin(4)
    trace.append({"step": 5})
    assert [record["step"] for record in trace.read()] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("line", [b"", b"\xff\x00", b"{step: 2}", b"[2]", b"2", b"{}", b'{"step": "2"}', b"[" * 10**5])
def test_a_line_that_no_run_wrote_is_a_sentence(path: Path, line: bytes) -> None:
    lines = path.read_bytes().split(b"\n")
    lines[2] = line
    path.write_bytes(b"\n".join(lines))
    sentence = f"line 3 of `{path}` is not as hbo wrote it: restore the file, or move it away."
    for act in (Trace(path).read, lambda: Trace(path).begin(4)):
        with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
            act()
        assert str(error.value) == sentence
    shown = CliRunner().invoke(report, [str(path.parent)])
    assert (shown.exit_code, shown.output) == (1, f"Error: {sentence}\n")


def test_a_full_disk_costs_lines_and_not_the_training(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace(path)
    with full_disk(path.stat().st_size + 5), caplog.at_level(logging.WARNING):
        trace.append({"step": 5, "value": 1})
        trace.append({"step": 6, "value": 1})
    trace.append({"step": 7})
    trace.append({"step": 8})
    assert caplog.messages == [
        f"hbo: a line of `{path}` could not be written at step {step} (File too large); "
        f"the training goes on without it ({lost} lost)."
        for step, lost in ((5, 1), (6, 2))
    ]
    assert trace.read()[5:] == [{"step": 7, "lost": 2}, {"step": 8}]


def test_a_file_that_cannot_be_written_stops_the_run_before_it_trains(path: Path) -> None:
    def check(path: Path, reason: str) -> None:
        with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
            Trace(path).begin(4)
        assert str(error.value) == (
            f"`{path}` cannot be written ({reason}): make room, or give an `output_dir` that this user may write to."
        )

    lines = path.read_bytes()
    with full_disk(len(lines) // 2):
        check(path, "File too large")
    assert path.read_bytes() == lines
    check(path / TRACE_FILE, "File exists")
