"""The arm without hbo: Axolotl trains it, and hbo then measures what was trained, on the held-out rows of the other arms."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from hbo_plugin.compare.arms import PLAIN
from hbo_plugin.compare.runs import CONFIG_FILE, PlannedRun, remove_weights
from hbo_plugin.training.state_file import newest_checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_TRAINED_FILE = "trained"
"""In the folder of a run whose training has ended."""
_OF_TRAINING = (
    *("base_model_config", "early_stopping_patience", "eval_delay", "eval_strategy", "evals_per_epoch", "evaluation_strategy"),
    *("load_best_model_at_end", "save_steps", "saves_per_epoch"),
)  # fmt: skip
"""Keys that a training may have and its measuring must not."""


@dataclass(frozen=True)
class PlainRun(PlannedRun):
    """A run without hbo.

    Attributes:
        steps: optimizer steps that every arm makes.
    """

    steps: int

    @property
    def traced(self) -> Path:
        """The folder of the trace that the measuring writes."""
        return self.folder / "measured"

    def write_config(self, base: Mapping[str, Any]) -> Path:
        """Write what trains the run, and what measures it afterwards, whose path is returned.

        Raises:
            ValueError: the folder belongs to another run.
        """
        without = {key: value for key, value in base.items() if key != "plugins"}
        others = [name for name in base.get("plugins") or () if name.partition(".")[0] not in {"hbo_plugin", "hbo"}]
        plugins = {"plugins": others} if others else {}
        self._write(self.folder, {**without, **plugins, "max_steps": self.steps})
        kept = {key: value for key, value in base.items() if key not in _OF_TRAINING}
        # With the tokenizer that is saved beside the model, the data would be prepared once more.
        tokenizer = {
            "tokenizer_config": base.get("tokenizer_config") or base.get("base_model_config") or base["base_model"]
        }
        # The evaluation before the first step is that of what was trained; Axolotl makes no run without a step.
        measuring = {"max_steps": 1, "eval_steps": 1, "eval_on_start": True, "save_strategy": "no"}
        return self._write(self.traced, {**kept, **tokenizer, **measuring, "hbo": self.arm.block})

    def train(self, start: Callable[..., bool], config: Path) -> bool:
        """Train, or go on, and measure what was trained; see `PlannedRun.train`."""
        trained = self.folder / _TRAINED_FILE
        if not trained.exists():
            # The Trainer goes on from the newest, also where that is not whole, or of the last step, after which it makes another.
            shutil.rmtree(self.folder / f"checkpoint-{self.steps}", ignore_errors=True)
            for checkpoint in newest_checkpoints(self.folder)[1]:
                shutil.rmtree(checkpoint)
            if not start(self.folder / CONFIG_FILE):
                return False
            trained.touch()
        adapts = yaml.safe_load(config.read_text(encoding="utf-8")).get("adapter")
        ended = start(config, "--lora-model-dir" if adapts else "--base-model", str(self.folder))
        remove_weights(self.traced)
        return ended


def with_plain(runs: Sequence[PlannedRun], base: Mapping[str, Any], steps: Callable[[], int]) -> list[PlannedRun]:
    """Return the runs, those without hbo as such.

    Args:
        runs: of all arms.
        base: the configuration without its `hbo:` block.
        steps: of the whole run, where the configuration does not say it.

    Raises:
        ValueError: there is such an arm, and its held-out rows would be trained on.
    """
    if not any(run.arm.plain for run in runs):
        return [*runs]
    if not base.get("test_datasets"):
        msg = (
            f"`--methods {PLAIN}` was given, but without hbo other rows are held out by `val_set_size`, and those that judge are "
            f"trained on; set `test_datasets`, or leave `{PLAIN}` out."
        )
        raise ValueError(msg)
    length = base.get("max_steps") or steps()
    return [PlainRun(run.arm, run.seed, run.folder, run.replayed, length) if run.arm.plain else run for run in runs]
