"""The acceptance run on a card, in its small form: every case on a CPU, without bounds on time or memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from benchmarks.__main__ import main
from benchmarks.gpu import runs, settings, signals
from benchmarks.gpu.case import Case, Finding, findings
from benchmarks.gpu.cases import CASES
from benchmarks.gpu.command import gpu
from hbo_plugin.args import HBOConfig
from hbo_plugin.signals.choice import choose


@pytest.mark.timeout(1500)  # it starts a dozen processes
def test_every_case_passes_on_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks", "gpu", "--small", "--json", str(file)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [Finding(**each) for each in json.loads(file.read_text())["findings"]]
    assert {each.case for each in found} == {*CASES}
    assert not [each for each in found if each.outcome == "fails"]
    # Whatever this machine lacks has a name and a reason.
    assert all(each.why for each in found if each.outcome == "skipped")
    assert {each.case for each in found if each.outcome == "holds"} == {*CASES} - {"full", "lora", "kernels", "scoring"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, entry in CASES.items():
        monkeypatch.setitem(CASES, name, replace(entry, seconds=0))


@pytest.mark.usefixtures("impatient")
def test_a_case_that_hangs_is_stopped_and_hides_no_other(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    earlier = Finding("settings", "something", "holds")
    card = {"name": "none"}
    file.write_text(json.dumps({"findings": [asdict(earlier), asdict(replace(earlier, case="memory"))], "card": card}))
    with pytest.raises(SystemExit):
        main(["gpu", "--small", "--only", "memory", "--only", "scoring", "--json", str(file)], standalone_mode=False)
    found = [Finding(**each) for each in json.loads(file.read_text())["findings"]]
    assert found[0] == earlier
    fails = {each.case: each.why for each in found if each.outcome == "fails"}
    assert [*fails] == ["memory", "scoring"]
    assert all(why.startswith("it was stopped after 0 s") for why in fails.values())


def test_nothing_goes_on_when_the_command_is_terminated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "gpu", "--small", "--only", "resume", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as process:
        while not (tmp_path / "resume" / "output.log").exists() or not children(process.pid):
            time.sleep(0.1)
        (case,) = children(process.pid)
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(case, 0)


def children(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_signals_that_differ_or_are_not_there_are_seen() -> None:
    nan, inf = float("nan"), float("inf")
    here = {"loss": [2.0, nan, 4.0], "entropy": [1.0]}
    assert signals._apart(here, {**here, "loss": [2.04, nan, 4.0]}) == pytest.approx(0.01)
    for other in ({"loss": here["loss"]}, {**here, "loss": [2.0, 3.0, 4.0]}, {**here, "loss": [2.0, nan]}):
        assert signals._apart(here, other) == inf
    assert signals._apart({}, {}) == signals._apart({"loss": [nan]}, {"loss": [nan]}) == inf


def test_a_step_is_timed_over_the_fastest_stretch_after_the_first(tmp_path: Path) -> None:
    seconds = [9.0, 9.0, 1.0, 2.0, 1.0, 5.0, 0.1]  # stretches of 2; what is left of the last does not count
    run = runs.Measured(tmp_path, seconds, hbo=[1.0, 2.0, 2.25, 2.5, 3.0, 4.0, 4.0], losses=[], peak=0)
    assert run.stretch(2) == (1.5, 0.25)


def test_each_part_takes_less_than_ten_minutes() -> None:
    for part in (1, 2):
        assert sum(entry.seconds for entry in CASES.values() if entry.part == part) < 600


def test_a_machine_without_a_card_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(click.ClickException, match="no NVIDIA card was found") as caught:
        gpu(["--only", "memory"], standalone_mode=False)
    assert "give `--small`" in caught.value.message


@pytest.mark.axolotl
@pytest.mark.parametrize("name", [*settings.USUAL, *settings.KERNELS])
def test_axolotl_and_hbo_accept_what_a_card_is_tried_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, name: str
) -> None:
    """As far as a machine without a card can tell."""
    from axolotl.utils.config import prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault

    setting = {**settings.USUAL, **settings.KERNELS}[name]
    monkeypatch.setattr(runs, "_saved_model", lambda *_: (tiny_model, 600))
    monkeypatch.setattr(runs, "_saved_rows", lambda *_: [tmp_path / "set0.parquet"])
    case = Case("a", tmp_path, small=False, file=tmp_path / "found.jsonl")
    written = settings.configured_by(case, name, setting, "smollm2")
    cfg = DictDefault(written)
    prepare_plugins(cfg)
    capabilities = {"bf16": True, "fp8": False, "n_gpu": 1, "n_node": 1, "compute_capability": "sm_90"}
    checked = validate_config(cfg, capabilities=capabilities, env_capabilities={"torch_version": "2.13.0"})
    assert set(written) <= set(checked)
    config = HBOConfig.model_validate(checked.hbo.to_dict())
    chosen = choose(checked, config, ("gradient_norm", "perplexity_ratio"), held_out=False, tied=False)
    assert chosen.adapts


@pytest.mark.parametrize(("small", "outcome"), [(True, "shown"), (False, "fails")])
def test_the_small_form_leaves_out_bounds_on_time_and_memory(tmp_path: Path, outcome: Any, *, small: bool) -> None:
    case = Case("a", tmp_path, small, tmp_path / "found.jsonl")
    case.expect("fast", holds=False, resources=True, seconds=3.0)
    case.expect("right", holds=False)
    with case.attempt("anything"):
        _ = int("broken")
    fast, right, broken = findings(case.file)
    assert fast == Finding("a", "fast", outcome, {"seconds": 3.0})
    assert right.outcome == broken.outcome == "fails"
    assert broken.why.endswith("ValueError: invalid literal for int() with base 10: 'broken'\n")
