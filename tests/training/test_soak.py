"""A short soak: `make soak` makes a long one."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.axolotl
def test_no_kill_changes_a_run() -> None:
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "soak.py"), "--kills", "3"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["3 kills: 0 rows, 0 weights, 0 losses differing"], (
        done.stdout + done.stderr
    )
    assert done.returncode == 0
