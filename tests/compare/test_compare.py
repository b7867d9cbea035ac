"""The command `compare` on real runs of the tiny model, killed once; and what it does where a run fails."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner
from pages import tables
from runs import Config
from traces import evaluation, state, write

from hbo_plugin.cli import main
from hbo_plugin.compare import runs
from hbo_plugin.compare.arms import find_arms
from hbo_plugin.compare.runs import CONFIG_FILE, Launch, PlannedRun, is_finished, planned
from hbo_plugin.compare.work import Work, look_at, shortened
from hbo_plugin.trace import TRACE_FILE, Trace

MakeConfig = Callable[..., Config]
EVEN = {"sums": [0.5], "words": [0.5]}


def command(config: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "hbo_plugin", "compare", str(config), "--launcher", "python", *options]


def written(folder: Path, config: Config) -> Path:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.timeout(1500)  # six starts of Axolotl
def test_a_killed_comparison_goes_on_and_its_numbers_are_those_of_the_traces(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = written(tmp_path, make_config(val_set_size=0.1, eval_steps=5, save_steps=2))
    options = ("--methods", "hbo", "--seeds", "2", "--no-controls")
    first = subprocess.Popen(command(config, *options), start_new_session=True, stderr=subprocess.DEVNULL)
    second_run = tmp_path / "compare" / "hbo.7"
    while not [*second_run.glob("checkpoint-*/hbo_state.json")]:
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    finished = tmp_path / "compare" / "static.7"
    assert is_finished(finished)
    assert not is_finished(second_run)
    assert not [*finished.glob("checkpoint-*")]
    before = (finished / TRACE_FILE).stat().st_mtime_ns

    listed = subprocess.run(command(config, *options, "--list"), check=True, capture_output=True, text=True).stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["hbo.7", "static.8", "hbo.8"]
    elsewhere = subprocess.run(listed.splitlines()[1].split(), check=True, capture_output=True, text=True)
    assert "static.8: ended" in elsewhere.stderr

    written_to = ("--json", "-", "--html", str(tmp_path / "page.html"))
    done = subprocess.run(command(config, *options, *written_to), check=True, capture_output=True, text=True)
    assert (finished / TRACE_FILE).stat().st_mtime_ns == before
    assert "Resuming" in (second_run / "log.txt").read_text() or "checkpoint" in (second_run / "log.txt").read_text()
    found = json.loads(done.stdout)
    ends = {}
    for arm in ("static", "hbo"):
        histories = [Trace(tmp_path / "compare" / f"{arm}.{seed}" / TRACE_FILE).history() for seed in (7, 8)]
        ends[arm] = [history.evaluations[-1].target for history in histories]
        assert [history.evaluations[-1].step for history in histories] == [12, 12]
    static, hbo = found["arms"]
    assert hbo["target"] == pytest.approx(sum(ends["hbo"]) / 2)
    gaps = [ours - theirs for ours, theirs in zip(ends["hbo"], ends["static"], strict=True)]
    assert hbo["difference"]["mean"] == pytest.approx(sum(gaps) / 2)
    assert (static["seeds"], hbo["seeds"], found["missing"]) == (2, 2, [])
    assert hbo["seconds"] > 0
    assert tables((tmp_path / "page.html").read_text())["arms"]["hbo"]["loss"] == hbo["target"]


def test_an_arm_that_training_would_refuse_ends_the_command_before_any_run(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = written(tmp_path, make_config())  # nothing is held out
    found = CliRunner().invoke(main, command(config, "--methods", "target_loss")[3:])
    assert found.exit_code == 1
    assert "the arm `target_loss`: `hbo.goal_losses` is missing" in found.output
    found = CliRunner().invoke(main, command(config, "--methods", "learning_progress")[3:])
    assert found.exit_code == 1
    assert "nothing is held out, so nothing can be compared" in found.output
    config = written(tmp_path, make_config(val_set_size=0.1, hbo={"target": ["no set"]}))
    found = CliRunner().invoke(main, command(config, "--methods", "tandem", "--out", str(tmp_path / "b"))[3:])
    assert found.exit_code == 1
    assert "the arm `static`: `hbo.target: no set` names a held-out set that does not exist" in found.output
    assert not [*tmp_path.glob("*/*/hbo_trace.jsonl")]


class Ends(Launch):
    """Instead of training: each run ends at once, apart from those of one arm."""

    def __init__(self, failing: str) -> None:
        object.__setattr__(self, "failing", failing)
        object.__setattr__(self, "trained", [])

    def train(self, run: PlannedRun, config: Path, card: str | None) -> bool:
        self.trained.append((run.name, card, yaml.safe_load(config.read_text())["hbo"]))  # type: ignore[attr-defined]
        if run.arm.name == self.failing:  # type: ignore[attr-defined]
            (run.folder / runs.LOG_FILE).write_text("out of memory")
            return False
        write(run.folder, state(0, "start", EVEN), evaluation(1, sums=1.0), state(1, "end", EVEN))
        return True


def trained(launch: Launch) -> list[tuple[str, str | None, dict[str, Any]]]:
    made: list[tuple[str, str | None, dict[str, Any]]] = launch.trained  # type: ignore[attr-defined]
    return made


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arms = find_arms({}, ["hbo", "odm"], {}, "static", controls=True)
    launch = Ends(failing="odm")
    work = Work(planned(arms, [3], tmp_path), {}, launch)
    work.train([None])
    assert work.failed == ["odm.3"]
    # The control of the arm that failed has nothing to replay.
    assert [name for name, _, _ in trained(launch)] == ["static.3", "hbo.3", "hbo-its-average.3", "odm.3"]
    assert trained(launch)[2][2] == {"method": "replay", "trace": str(tmp_path / "hbo.3" / TRACE_FILE)}
    told = capsys.readouterr().err
    assert "odm.3: failed" in told
    assert "out of memory" in told
    again = Ends(failing="")
    Work(planned(arms, [3], tmp_path), {}, again).train([None])
    assert [name for name, _, _ in trained(again)] == ["odm.3", "odm-its-average.3"]


def test_several_runs_at_once_have_a_card_each(tmp_path: Path) -> None:
    launch = Ends(failing="")
    Work(planned(find_arms({}, (), {}, "static", controls=False), range(20), tmp_path), {}, launch).train(["0", "2"])
    assert len({name for name, _, _ in trained(launch)}) == 20
    assert {card for _, card, _ in trained(launch)} <= {"0", "2"}


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    (run,) = planned(find_arms({}, (), {}, "static", controls=False), [0], tmp_path)
    path = run.write_config({"learning_rate": 1, "hub_model_id": "mine/model"})
    assert yaml.safe_load(path.read_text()).keys() == {
        *("learning_rate", "hbo", "seed", "output_dir", "auto_resume_from_checkpoints")
    }
    run.write_config({"learning_rate": 1})
    with pytest.raises(ValueError, match="holds a run with another configuration"):
        run.write_config({"learning_rate": 2})
    (tmp_path / "static.0" / CONFIG_FILE).unlink()
    write(tmp_path / "static.0", state(0, "start", EVEN))
    with pytest.raises(ValueError, match="holds a run with another configuration"):
        run.write_config({"learning_rate": 1})


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path: Path) -> None:
    (run,) = planned(find_arms({}, (), {}, "static", controls=False), [0], tmp_path)
    config = run.write_config({})
    hold = "import fcntl, sys, time; f = open(sys.argv[1], 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(run.folder / "lock")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert Launch("python", (), {}, keep_models=False).train(run, config, None) is None
    finally:
        holder.kill()
        holder.wait()


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def test_a_run_that_is_given_up_ends_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `accelerate launch` does, which leaves its process behind when it is ended itself."""
    (run,) = planned(find_arms({}, (), {}, "static", controls=False), [0], tmp_path)
    launcher, child = tmp_path / "launcher", run.folder / "child"
    launcher.write_text(f"#!/bin/bash\nsleep 600 &\necho $! > {child}\nwait\n")
    launcher.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(launcher))
    launch = Launch("python", (), {}, keep_models=False, hopeless=lambda _: child.exists() and child.read_text() != "")
    work = Work([run], {}, launch)
    work.train([None])
    assert work.failed == []
    assert "static.0: given up" in capsys.readouterr().err
    deadline = time.monotonic() + 30
    while is_alive(int(child.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    # It is not begun again.
    before = child.stat().st_mtime_ns
    Work([run], {}, launch).train([None])
    assert child.stat().st_mtime_ns == before


def test_a_stand_in_shortens_what_counts_in_steps() -> None:
    base, block = shortened(
        {"warmup_steps": 30, "eval_steps": 0.1, "save_steps": 100, "num_epochs": 3, "seed": 1},
        {"hold_steps": 0.2, "method": "odm"},
        steps=40,
        whole=400,
    )
    assert base == {"warmup_steps": 3, "eval_steps": 0.1, "save_steps": 10, "num_epochs": 3, "seed": 1, "max_steps": 40}
    assert block == {"update_every": 10, "hold_steps": 0.2, "method": "odm"}


def test_arms_that_other_rows_judge_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"static.0": {"sums": 10, "words": 8}, "tandem.0": {"sums": 5, "words": 4}}

    def plan(config: Path, _: int) -> Any:
        return SimpleNamespace(judges=rows[config.parent.name])

    monkeypatch.setattr("hbo_plugin.compare.work.plan_of", plan)
    wanted = planned(find_arms({}, ["tandem"], {}, "static", controls=True), [0], tmp_path)
    with pytest.raises(ValueError, match="`sums` judges `tandem` by 5 rows and `static` by 10"):
        look_at(wanted, {}, 1)
    rows["tandem.0"] = rows["static.0"]
    look_at(wanted, {}, 1)
