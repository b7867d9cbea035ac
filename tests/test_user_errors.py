"""What ends `axolotl train` when the user made a mistake: the message, last and alone."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.axolotl


def end_of_training(config: dict[str, Any], folder: Path) -> str:
    """What `axolotl train --launcher python` writes on stderr for a configuration that is refused."""
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "axolotl.cli.train", str(path)]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


def test_a_mistake_in_the_block_ends_with_its_message(make_config: Any, tmp_path: Path) -> None:
    shown = end_of_training(make_config(hbo={"updat_every": 5}, streaming=True), tmp_path)
    assert "Traceback" not in shown
    end = shown[shown.index("\nhbo: ") :]
    assert "`hbo.updat_every: 5` was given, but there is no such key; did you mean `update_every`?" in end
    assert "`streaming: true`" in end


def test_a_mistake_in_the_data_ends_with_its_message(make_config: Any, tmp_path: Path) -> None:
    shown = end_of_training(make_config(hbo={"difficulty": "no_such_column", "levels": 2}), tmp_path)
    assert "Traceback" not in shown
    assert "no_such_column" in shown.strip().splitlines()[-1]


def test_other_errors_keep_their_traceback(make_config: Any, tmp_path: Path) -> None:
    shown = end_of_training(make_config(base_model=str(tmp_path / "nothing")), tmp_path)
    assert "Traceback" in shown
