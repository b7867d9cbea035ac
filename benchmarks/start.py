"""How long a run takes to start when everything is prepared: with hbo, and Axolotl alone, on the same rows."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml

from benchmarks.made_files import FIRST_WORD, save_model, save_rows
from hbo_plugin.bench.measure import Row
from hbo_plugin.bench.report import publish
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OFF, ON = "Axolotl alone", "hbo"
VOCABULARY = 600
FULL = {"1e6 rows in 3 datasets": (600_000, 300_000, 100_000), "1,000 datasets of 100 rows": (100,) * 1000}
QUICK = {"1e5 rows in 3 datasets": (60_000, 30_000, 10_000), "100 datasets of 100 rows": (100,) * 100}


def _config(folder: Path, datasets: int, *, on: bool) -> Path:
    """The file of a run's configuration."""
    entries = [{"path": str(folder / f"set{number}.parquet"), "ds_type": "parquet"} for number in range(datasets)]
    config = {
        "base_model": str(folder.parent / "model"),
        "datasets": entries,
        "dataset_prepared_path": str(folder / "prepared"),
        "val_set_size": 0.01,
        "output_dir": str(folder / "out"),
        "sequence_len": 64,
        "micro_batch_size": 8,
        "max_steps": 10,
        "learning_rate": 0.001,
        "optimizer": "adamw_torch",
        "lr_scheduler": "cosine",
        "num_epochs": 1,
        "bf16": False,
        "tf32": False,
        "attn_implementation": "sdpa",
        "dataset_num_proc": 0,
        "dataloader_pin_memory": False,
        **({"plugins": ["hbo_plugin.HBOPlugin"], "hbo": {}} if on else {}),
    }
    path = folder / f"{'hbo' if on else 'alone'}.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _start(config: Path) -> tuple[float, float]:
    """Seconds from reading the configuration to the first batch, after all imports: passed, and of the processor."""
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.integrations.base import PluginManager
    from axolotl.train import setup_model_and_trainer

    PluginManager._instance = None  # noqa: SLF001 Axolotl keeps its plugins for the life of the process
    begun = time.perf_counter(), time.process_time()
    cfg = load_cfg(str(config))
    data = PluginManager.get_instance().load_datasets(cfg, preprocess=False) or load_datasets(cfg=cfg)
    trainer: Any = setup_model_and_trainer(cfg, data)[0]
    next(iter(trainer.get_train_dataloader()))
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def _measured(case: str, sizes: Sequence[int], folder: Path, repeats: int) -> Iterator[Row]:
    """One row for each of the two."""
    folder.mkdir()
    rng, words = np.random.default_rng(0), range(FIRST_WORD, VOCABULARY)
    for number, rows in enumerate(sizes):
        # Of 10 to 59 tokens.
        save_rows(folder / f"set{number}.parquet", rng.integers(10, 60, rows), words, rng)
    configs = {name: _config(folder, len(sizes), on=name == ON) for name in (OFF, ON)}
    first = {name: _start(config)[0] for name, config in configs.items()}
    before = _files(folder / "prepared")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in configs}
    for _ in range(repeats):
        for name, config in configs.items():
            times[name].append(_start(config))
    written = len(_files(folder / "prepared") - before)
    for name, found in times.items():
        passed, processor = zip(*found, strict=True)
        note = f"{first[name]:.3g} s where nothing is prepared; {written} files written by the starts that are timed"
        spread = (min(passed), max(passed))
        yield Row(
            case, name, ours=name == ON, unit="s", value=median(passed), spread=spread, cpu=median(processor), note=note
        )


def _files(folder: Path) -> set[tuple[str, int]]:
    """The files in a folder, each with the time it was written; a lock is not data."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {(str(path), path.stat().st_mtime_ns) for path in found}


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rows and datasets: two minutes.")
@click.option("--repeats", default=5, show_default=True, help="Starts of each kind that are timed.")
@json_option
def start(*, quick: bool, repeats: int, json_to: Path | None) -> None:
    """Measure how long a run takes to its first batch when its rows are prepared."""
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "AXOLOTL_DO_NOT_TRACK")
    os.environ.update(dict.fromkeys(offline, "1"), AXOLOTL_DATASET_NUM_PROC="0")
    from benchmarks.training_run import MODELS

    # stdout is for the result.
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        root = Path(folder)
        save_model(root / "model", MODELS["tiny"]())
        cases = QUICK if quick else FULL
        rows = [row for case, sizes in cases.items() for row in _measured(case, sizes, root / str(len(sizes)), repeats)]
    # By time of the processor, which other work on the machine does not lengthen much.
    ratios = {on.case: on.cpu / off.cpu for off, on in zip(rows[::2], rows[1::2], strict=True) if on.cpu and off.cpu}
    publish(rows, json_to, ratios=("CPU time to start with hbo over Axolotl alone", ratios))
