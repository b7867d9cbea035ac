"""The README: its commands run, and its numbers are those of docs/evidence.md."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import lines, read_trace

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
AXOLOTL = str(Path(sys.executable).parent / "axolotl")


def commands() -> list[str]:
    """Every command line of the README's code blocks."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [line for language, block in blocks if not language for line in block.splitlines()]


def test_the_commands_are_those_that_are_tested() -> None:
    """The first two are what test_wheel.py does, and the others run below."""
    assert commands() == [
        "make dist",
        "pip install dist/axolotl_hbo-*.whl",
        "axolotl preprocess config.yml",
        "axolotl train config.yml",
        "python -m hbo_plugin report output_dir --plot mixture.png",
    ]


def test_the_numbers_are_those_of_the_evidence() -> None:
    numbers = re.findall(r"[+-]\d\.\d+ ± \d\.\d+", README)
    assert len(numbers) == 3
    evidence = (ROOT / "docs" / "evidence.md").read_text()
    assert [number for number in numbers if number not in evidence] == []


@pytest.mark.axolotl
def test_the_commands_survive_a_kill(make_config: Any, tmp_path: Path) -> None:
    """preprocess, train, SIGKILL, train again, report: as a user would, and as if the kill had not been."""
    pytest.importorskip("axolotl")
    config = make_config(save_steps=2, max_steps=60, auto_resume_from_checkpoints=True, save_total_limit=2)
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    whole = {**config, "output_dir": str(tmp_path / "whole")}
    (tmp_path / "whole.yml").write_text(yaml.safe_dump(whole))

    def axolotl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([AXOLOTL, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    axolotl("preprocess", "config.yml", "--no-download")
    train = ["train", "config.yml", "--launcher", "python"]
    with subprocess.Popen([AXOLOTL, *train], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while not list((tmp_path / "out").glob("checkpoint-*/trainer_state.json")):
            assert run.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    axolotl(*train)
    axolotl("train", "whole.yml", "--launcher", "python")
    assert lines(tmp_path / "out" / "hbo_rows.jsonl") == lines(tmp_path / "whole" / "hbo_rows.jsonl")
    assert read_trace(tmp_path / "out") == read_trace(tmp_path / "whole")
    report = [sys.executable, "-m", "hbo_plugin", "report"]
    shown = subprocess.check_output([*report, "out", "--plot", "mixture.png"], cwd=tmp_path, text=True)
    assert shown.startswith("The mixture after 60 steps, 240 rows trained on")
    assert shown == subprocess.check_output([*report, "whole"], cwd=tmp_path, text=True)
    assert axolotl("hbo-report", "whole").stdout.endswith(shown)
    assert (tmp_path / "mixture.png").stat().st_size > 1000
