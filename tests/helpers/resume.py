"""The one proof of resume: a run that dies and goes on is the run that was never stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import crash
import pytest
from runs import history, lines, read_trace, train


def assert_resumes(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
    *,
    losses: bool = True,
    between: Callable[[], None] = lambda: None,
) -> Path:
    """Train twice, once dying after `crash_at` steps and going on; compare rows, weights, signals and losses exactly.

    Args:
        config: of a run with `record_rows: true`.
        monkeypatch: of the test.
        crash_at: the optimizer step after which the second run dies.
        between: called when the second run is dead, in whose folder `died` everything lies.
        losses: False where the Trainer itself does not continue them, and so the trace neither.

    Returns:
        The output folder of the run that died.
    """
    folder = Path(config["output_dir"]).parent
    whole = train({**config, "output_dir": str(folder / "whole")})
    died = {
        **config,
        "output_dir": str(folder / "died"),
        "plugins": [*config["plugins"], "crash.CrashPlugin"],
        "auto_resume_from_checkpoints": True,
    }
    monkeypatch.setenv(crash.VARIABLE, str(crash_at))
    with pytest.raises(crash.CrashError):
        train(died)
    monkeypatch.delenv(crash.VARIABLE)
    between()
    resumed = train(died)
    assert lines(resumed / "hbo_rows.jsonl") == lines(whole / "hbo_rows.jsonl")
    traces = [read_trace(folder) for folder in (resumed, whole)]
    for record in () if losses else (*traces[0], *traces[1]):
        record.pop("training_loss", None)
    assert traces[0] == traces[1]
    for key in ("loss", "grad_norm", "learning_rate") if losses else ():
        assert history(resumed, key) == history(whole, key)
    return resumed
