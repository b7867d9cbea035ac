"""Two ranks on CPU through Axolotl's own launcher: together they are the run of one process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import lines, train

pytestmark = pytest.mark.axolotl


def test_two_ranks_share_one_stream(make_config: Any, tmp_path: Path) -> None:
    # Axolotl normalises the loss rank by rank, so two ranks do not train quite as one. `floor: 1` holds the weights.
    hbo = {"update_every": 3, "levels": 2, "floor": 1.0, "record_rows": True, "gradient_rows": 4, "forward_rows": 4}
    config = make_config(max_steps=8, hbo=hbo)
    config["plugins"].append("cpu_ranks.CPURanksPlugin")
    alone = train({**config, "output_dir": str(tmp_path / "alone")})
    shared = {**config, "output_dir": str(tmp_path / "shared"), "micro_batch_size": 1}
    (tmp_path / "shared.yml").write_text(yaml.safe_dump(shared))
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # Axolotl looks for `torchrun` there
        "PYTHONPATH": str(Path(__file__).parent),
    }
    command = [str(programs / "axolotl"), "train", "shared.yml", "--launcher", "torchrun"]
    done = subprocess.run(
        [*command, "--", "--nproc_per_node", "2"],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / "shared" / "hbo_rows.jsonl") == lines(alone / "hbo_rows.jsonl")
    for folder in (alone, tmp_path / "shared"):
        assert [record["event"] for record in lines(folder / "hbo_trace.jsonl")] == ["start", "update", "update", "end"]
    one, two = (lines(folder / "hbo_trace.jsonl")[1] for folder in (alone, tmp_path / "shared"))
    assert two["signals"] == pytest.approx(one["signals"], rel=0.05)
