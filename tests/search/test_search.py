"""The command `search` on real runs of the tiny model, killed once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from runs import Config

from hbo_plugin.compare.runs import is_finished
from hbo_plugin.trace import TRACE_FILE, Trace


@pytest.mark.timeout(1500)  # seven starts of Axolotl
def test_a_killed_search_goes_on_to_a_verdict(make_config: Callable[..., Config], tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    keys = {"val_set_size": 0.2, "eval_steps": 20, "save_steps": 2, "max_steps": 20}
    config.write_text(yaml.safe_dump(make_config(hbo={"target": ["words"], "record_rows": True}, **keys)))
    command = [sys.executable, "-m", "hbo_plugin", "search", str(config), "--launcher", "python"]
    command += ["--seeds", "1", "--shorter", "4", "--json", "-"]
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    trials = tmp_path / "search" / "trials"
    while not (trials / "rest-to-sums.7" / TRACE_FILE).exists():
        assert first.poll() is None
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    even = trials / "rest-even.7"
    assert is_finished(even)
    before = (even / TRACE_FILE).stat().st_mtime_ns
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (even / TRACE_FILE).stat().st_mtime_ns == before
    assert (found["baseline"], found["target"], found["trial_steps"]) == ("rest even", {"words": 1.0}, 4)
    evaluations = {path.name: Trace(path / TRACE_FILE).history().evaluations for path in trials.glob("*.7")}
    for trial in found["trials"]["trials"]:
        of_it = evaluations[trial["name"].replace(" ", "-") + ".7"]
        step = 2 if trial["given_up"] else 4
        ours, theirs = (
            next(each.steering["words"] for each in run if each.step == step)
            for run in (of_it, evaluations["rest-even.7"])
        )
        assert trial["sets"]["words"]["mean"] == pytest.approx(ours - theirs)
    assert len(found["trials"]["trials"]) == 2
    # One seed confirms nothing.
    assert found["chosen"] is None
    confirmed = found["confirmed"]
    assert (confirmed is None) == (not found["trials"]["nominated"])
    if confirmed:
        assert [arm["seeds"] for arm in confirmed["arms"]] == [1, 1]
