"""Several ranks on CPU, through Axolotl's own launchers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

SHARDING = {
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
    "state_dict_type": "FULL_STATE_DICT",
    "reshard_after_forward": True,
    "offload_params": False,
    "cpu_ram_efficient_loading": False,
}


def start(config: dict[str, Any], ranks: int, launcher: str = "torchrun") -> subprocess.CompletedProcess[str]:
    """`axolotl train` on so many ranks, and wait until they are done."""
    folder = Path(config["output_dir"])
    folder.mkdir(exist_ok=True)
    path = folder.with_suffix(".yml")
    path.write_text(yaml.safe_dump(config))
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",  # Axolotl looks for the launcher there
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
    }
    options = {
        "torchrun": ["--nproc_per_node"],
        "accelerate": ["--multi_gpu", "--main_process_port", "0", "--num_processes"],
    }
    command = [str(programs / "axolotl"), "train", str(path), "--launcher", launcher]
    return subprocess.run(
        [*command, "--", *options[launcher], str(ranks)],
        cwd=folder.parent,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
