"""Runs of Axolotl in this process, on models at random and made rows, and what they measured."""

from __future__ import annotations

import gc
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from benchmarks.gpu.meter import FILE
from benchmarks.made_files import FIRST_WORD, save_model, save_rows
from hbo_plugin.trace import TRACE_FILE, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.gpu.case import Case

Config = dict[str, Any]

SMALL_SIZES, SIZES = (48, 40, 32, 24), (2400, 1600, 800, 400)
"""Rows of `set0`, `set1` and so on."""
KNOWN = 100
"""Tokens of a dataset."""
LORA: Config = {
    "adapter": "lora",
    "lora_r": 16,
    "lora_alpha": 32,
    "lora_target_linear": True,
    # They hide the layers that signals come from, and need a card.
    **dict.fromkeys([f"lora_{part}_kernel" for part in ("qkv", "o", "mlp", "embedding")], False),
}


@dataclass(frozen=True)
class Measured:
    """What a run left.

    Attributes:
        folder: of its output.
        seconds: of each step, with what comes after it; the device has done all of it.
        hbo: seconds that hbo's own clock says until the end of each step, without waiting for the next batch.
        losses: that were logged, one a step.
        peak: bytes on the card at the highest, beside what was there before the run.
    """

    folder: Path
    seconds: list[float]
    hbo: list[float]
    losses: list[float]
    peak: int

    def stretch(self, steps: int) -> tuple[float, float]:
        """Seconds of a step, and those of it that hbo's clock says, in the fastest stretch of so many steps.

        The first stretch warms up. Each has the steps up to one update and the update itself, and a compilation or other
        work on the machine is in one and not in all.
        """
        ends = range(2 * steps, len(self.seconds), steps)
        means = {end: float(np.mean(self.seconds[end - steps : end])) for end in ends}
        fastest = min(means, key=means.__getitem__)
        return means[fastest], (self.hbo[fastest - 1] - self.hbo[fastest - steps - 1]) / steps

    def trace(self) -> list[Config]:
        """What hbo recorded."""
        return Trace(self.folder / TRACE_FILE).read()

    def signals(self) -> list[float]:
        """All that was measured at any update, NaN for what could not be."""
        return [value for record in self.trace() for value in numbers(record.get("signals", {}))]


def numbers(table: Any) -> list[float]:
    """Every number in nested tables and lists, NaN for None; in the order in which they stand."""
    if isinstance(table, dict | list):
        return [each for part in (table.values() if isinstance(table, dict) else table) for each in numbers(part)]
    return [] if isinstance(table, str) else [float("nan") if table is None else float(table)]


def configured(case: Case, name: str, model: str, hbo: Config | None, **changes: Any) -> Config:
    """The configuration of a run.

    Args:
        case: that it is part of.
        name: of its output folder.
        model: one of `MODELS` of `benchmarks.training_run`; the small form has the tiny one for all.
        hbo: its `hbo:` block; None without hbo.
        changes: other keys; None removes one.
    """
    small = case.small
    given = changes.pop("plugins", [])
    plugins = [*(["hbo_plugin.HBOPlugin"] if hbo is not None else []), *given, "benchmarks.gpu.meter.MeterPlugin"]
    folder, vocabulary = _saved_model(case, "tiny" if small else model)
    config = {
        "base_model": str(folder),
        "plugins": plugins,
        "hbo": hbo,
        "datasets": [{"path": str(path), "ds_type": "parquet"} for path in _saved_rows(case, vocabulary)],
        "dataset_prepared_path": str(case.folder / "prepared"),
        "output_dir": str(case.folder / "runs" / name),
        "sequence_len": 128 if small else 2048,
        "micro_batch_size": 2 if small else 4,
        "gradient_accumulation_steps": 2,
        "num_epochs": 50,
        "learning_rate": 1e-4,
        "lr_scheduler": "constant",
        "optimizer": "adamw_torch" if small else "adamw_torch_fused",
        "logging_steps": 1,
        "save_strategy": "no",
        "val_set_size": 0,
        "bf16": not small,
        "fp16": False,
        "tf32": not small,
        "sample_packing": True,
        "eval_sample_packing": False,
        "pad_to_sequence_len": True,
        "attn_implementation": "sdpa" if small else usual_attention(),
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "dataset_num_proc": 0,
        "dataloader_pin_memory": not small,
        "seed": 7,
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def usual_attention() -> str:
    """What most people train with; what has to be compiled first has a case of its own."""
    return "flash_attention_2" if find_spec("flash_attn") else "sdpa"


def train(config: Config) -> Measured:
    """`axolotl train` on a configuration; an output folder that is there stays as it is."""
    import torch
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.train import do_train
    from transformers import set_seed

    from hbo_plugin import compat

    path = saved(config)
    with _apart():
        before = torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
        # As in a process of its own: before 0.21, Axolotl draws a new adapter from whatever state the generators are in.
        set_seed(0)
        do_train(compat.load_config(path), TrainerCliArgs())
    folder = path.with_suffix("")
    measured = json.loads((folder / FILE).read_text())
    return Measured(folder, **{**measured, "peak": measured["peak"] - before})


def saved(config: Config) -> Path:
    """The file of a configuration, beside its output folder."""
    from pathlib import Path

    folder = Path(config["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.with_suffix(".yml")
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def _apart() -> Iterator[None]:
    """Leave nothing of a run to the next one: Axolotl keeps plugins and sets variables, and accelerate keeps the precision."""
    import torch

    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        base = sys.modules["axolotl.integrations.base"]
        base.PluginManager._instance = None  # noqa: SLF001 it has no public reset
        getattr(base, "reset_plugin_entry_points_cache", lambda: None)()
        sys.modules["accelerate.state"].AcceleratorState._reset_state()  # noqa: SLF001
        torch._dynamo.reset()  # noqa: SLF001 as its documentation says
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _saved_model(case: Case, name: str) -> tuple[Path, int]:
    """The folder of a model, and how many tokens it knows."""
    import torch

    from benchmarks.training_run import MODELS

    folder = case.folder / name
    if not folder.exists():
        with torch.device(case.device):
            model = MODELS[name]()
        save_model(folder, model)
    return folder, json.loads((folder / "config.json").read_text())["vocab_size"]


def _saved_rows(case: Case, vocabulary: int) -> list[Path]:
    """Datasets of rows that are mostly short, each of tokens of its own, which a model soon knows."""
    rng = np.random.default_rng(vocabulary)
    middle, longest = (20, 100) if case.small else (300, 2000)
    sizes, folder = SMALL_SIZES if case.small else SIZES, case.folder / f"rows-{vocabulary}"
    if not folder.exists():
        folder.mkdir()
        for number, rows in enumerate(sizes):
            lengths = np.clip(rng.lognormal(np.log(middle), 0.6, rows), 8, longest).astype(np.int64)
            words = range(FIRST_WORD + number * KNOWN, FIRST_WORD + (number + 1) * KNOWN)
            save_rows(folder / f"set{number}.parquet", lengths, words, rng, prompt=0.25)
    return [folder / f"set{number}.parquet" for number in range(len(sizes))]
