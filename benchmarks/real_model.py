"""SmolLM2-135M with LoRA on the rows of the targets, their helpers and the rest: what every run on it starts from."""

from __future__ import annotations

import copy
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from axolotl_configs.quickstart_search_data import pairs
from hbo_plugin.bench.report import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from axolotl_configs.quickstart_search_data import Pair
    from benchmarks.training_run import Rows, Training

ROWS_PER_STEP = 8
RATE = 5e-4
WARM_UP = 10


@dataclass(frozen=True)
class Pretrained:
    """The model and its tokenizer."""

    model: Any
    encode: Callable[[str], list[int]]
    """The tokens of a text."""
    end: int
    """The token that ends an answer."""

    def tokenised(self, sets: Mapping[str, list[Pair]]) -> dict[str, Rows]:
        """Return the pairs of each dataset as rows, of which the answer and its end are learned."""
        made: dict[str, Rows] = {}
        for name, rows in sets.items():
            tokens = [(self.encode(f"{question}\n"), [*self.encode(answer), self.end]) for question, answer in rows]
            made[name] = [{"input_ids": ask + told, "labels": [-100] * len(ask) + told} for ask, told in tokens]
        return made

    @contextmanager
    def training(self, block: dict[str, Any], steps: int, seed: int, warm_up: int = WARM_UP) -> Iterator[Training]:
        """A run from the pretrained weights with new adapters, of which no step is made yet.

        Args:
            block: of `hbo:`.
            steps: of the run.
            seed: of the rows, of the adapters and of the stream.
            warm_up: optimizer steps up to the greatest learning rate, which then falls to a tenth in a straight line.
        """
        import torch
        from peft import LoraConfig, get_peft_model

        from benchmarks.training_run import Recipe, Training

        rows, held_out = map(self.tokenised, pairs(seed))
        torch.manual_seed(seed)
        adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")

        def schedule(done: int) -> float:
            return min(1, (done + 1) / warm_up) * (1 - 0.9 * done / steps)

        with tempfile.TemporaryDirectory() as folder:
            yield Training.of(
                get_peft_model(copy.deepcopy(self.model), adapters),
                [*rows.values()],
                held_out,
                rows_per_step=ROWS_PER_STEP,
                steps=steps,
                folder=Path(folder),
                block=block,
                seed=seed,
                names=[*rows],
                recipe=Recipe(RATE, (0.9, 0.95), schedule, clip=1.0),
            )


@cache
def pretrained() -> Pretrained:
    """SmolLM2-135M-Instruct, which is made first if it is not there, on one thread: a second process has a core too."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from axolotl_configs.quickstart_data import DEMO, missing_model

    for description, make in missing_model():
        click.echo(description, err=True)
        make()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")  # products in bfloat16 where the processor has them: twice as fast
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model")
    # For rows of some ten tokens, the fused attention takes as long as all products of the model.
    model = AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32, attn_implementation="eager")
    return Pretrained(model, lambda text: list(tokenizer(text)["input_ids"]), tokenizer.eos_token_id)


def versions() -> dict[str, Any]:
    """The machine, and the libraries that the losses depend on."""
    return environment() | {name: version(name) for name in ("transformers", "peft")}
