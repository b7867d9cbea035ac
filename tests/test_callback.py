"""The callback shows what a run begins and ends with, and a trace that cannot be read costs only that."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("transformers")

from traces import run_of, write

from hbo_plugin.callback import HBOCallback
from hbo_plugin.trace import TRACE_FILE, Trace


def end(folder: Path) -> None:
    """The end of a run of 12 steps."""
    journal = SimpleNamespace(trace=Trace(folder / TRACE_FILE))
    run: Any = SimpleNamespace(journal=journal, end=lambda _: None)
    state: Any = SimpleNamespace(global_step=12, is_world_process_zero=True)
    HBOCallback(run).on_train_end(None, state, None)  # type: ignore[arg-type]


def test_the_summary_is_shown_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    end(write(tmp_path, *run_of("sums", "words")))
    assert capsys.readouterr().out.startswith("The mixture after 12 steps, 48 rows trained on")


@pytest.mark.parametrize("content", [b"", b'{"hbo_trace": 1}\n', b'{"hbo_trace": 1}\nnothing\n'])
def test_a_trace_that_cannot_be_read_does_not_undo_the_training(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / TRACE_FILE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        end(tmp_path)
    assert "hbo: there is no summary of this run: " in caplog.text
    assert capsys.readouterr().out == ""
