"""A small training run without Axolotl: the Trainer's own step, with hbo attached as the plugin attaches it."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data.held_out import counted, halves, target_shares, ties
from hbo_plugin.data.load import RunData
from hbo_plugin.data.rows import lengths, trained
from hbo_plugin.row_weights.make import make_row_weights
from hbo_plugin.signals.choice import choose
from hbo_plugin.signals.context import HeldOutRows
from hbo_plugin.signals.padding import fetch, pad
from hbo_plugin.trainer import attach
from hbo_plugin.training.run import Run
from hbo_plugin.training.target_first import target_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hbo_plugin.methods import Method
    from hbo_plugin.row_weights.base import RowWeights

LEVELS = 4


def _tiny() -> Any:
    """Two layers of width 64 and 600 tokens, at random."""
    return _model(vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)


def _smollm2(layers: int = 30) -> Any:
    """The shape of SmolLM2-135M, at random: what is measured does not depend on the weights."""
    return _model(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )


def _llama_1b() -> Any:
    """The shape of Llama 3.2 1B, at random, in bfloat16."""
    model = _model(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=True,
    )
    return model.to(torch.bfloat16)


def small_model(vocabulary: int) -> Any:
    """Three layers of width 96, at random."""
    return _model(
        vocab_size=vocabulary, hidden_size=96, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4
    )


def chain_model(vocabulary: int) -> Any:
    """One layer of width 32, at random: enough for which token follows which."""
    return _model(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )


def _model(**shape: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape))


MODELS: dict[str, Callable[[], Any]] = {
    "tiny": _tiny,
    "smollm2": _smollm2,
    "smollm2-4": partial(_smollm2, 4),
    "llama-1b": _llama_1b,
}
"""Models by name; `smollm2-4` has four of the layers."""


Rows = list[dict[str, Any]]


def made_rows(sizes: Sequence[int], tokens: int, seed: int = 0) -> list[Rows]:
    """Datasets that are ever harder to learn: a few tokens again and again, and ever more noise among them."""
    rng = np.random.default_rng(seed)
    datasets: list[Rows] = [[] for _ in sizes]
    for number, size in enumerate(sizes):
        for _ in range(size):
            length = int(rng.integers(tokens // 2, tokens + 1))
            ids = np.resize(10 * number + rng.permutation(8)[: 2 + number % 4], length)
            noise = rng.random(length) < number / (2 * len(sizes))
            ids[noise] = rng.integers(0, 500, noise.sum())
            datasets[number].append({"input_ids": ids.tolist(), "labels": [-100, *ids[1:].tolist()]})
    return datasets


@dataclass(frozen=True)
class Recipe:
    """How the weights follow the gradients.

    Attributes:
        rate: the learning rate.
        betas: of AdamW.
        schedule: by how much the rate is multiplied in the optimizer step after so many others; None leaves the rate to
            the caller.
        clip: the greatest norm of a step's gradient.
    """

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Callable[[int], float] | None = None
    clip: float = math.inf


_PLAIN = Recipe()


@dataclass
class Training:
    """A model with its trainer and optimizer, and the rows that hbo draws if it takes part."""

    model: Any
    trainer: Any
    optimizer: Any
    rows: Iterator[int] | None = None
    clip: float = math.inf

    @property
    def run(self) -> Run:
        """What hbo knows of this run; an AttributeError where it takes no part."""
        run: Run = self.trainer.hbo
        return run

    @classmethod
    def of(
        cls,
        model: Any,
        datasets: Sequence[Rows],
        held_out: Sequence[Rows] | Mapping[str, Rows],
        *,
        rows_per_step: int,
        steps: int,
        folder: Path,
        block: dict[str, Any] | None,
        seed: int = 0,
        names: Sequence[str] | None = None,
        recipe: Recipe = _PLAIN,
        device: str = "cpu",
    ) -> Training:
        """Make one.

        Args:
            model: to be trained.
            datasets: the rows of each.
            held_out: the same for the rows that are held out; or by name, where not every dataset holds out rows.
            rows_per_step: in one micro-batch.
            steps: of the whole run.
            folder: for the trace.
            block: the `hbo:` block; None trains without.
            seed: of the stream.
            names: of the datasets.
            recipe: for the optimizer.
            device: `cpu` or `cuda`.
        """
        names = names or [f"set{number}" for number in range(len(datasets))]
        sets = dict(held_out) if isinstance(held_out, Mapping) else dict(zip(names, held_out, strict=True))
        args = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=rows_per_step,
            max_steps=steps,
            report_to=[],
            max_grad_norm=recipe.clip,
            use_cpu=device == "cpu",
            disable_tqdm=True,
        )
        args.sample_packing = False  # type: ignore[attr-defined]  # one of Axolotl's
        # Levels are by length; without hbo too, so that a number is the same row in both.
        ordered = [sorted(rows, key=lambda row: len(row["input_ids"])) for rows in datasets]
        rows = Dataset.from_list(_together(ordered))
        trainer: Any = Trainer(model=model, args=args, train_dataset=rows, data_collator=pad)
        trainer.current_gradient_accumulation_steps = 1  # what its loop would set
        trained = [weights for weights in model.parameters() if weights.requires_grad]
        trainer.optimizer = torch.optim.AdamW(trained, lr=recipe.rate, betas=recipe.betas)
        if recipe.schedule is not None:
            trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, recipe.schedule)
        training = cls(model, trainer, trainer.optimizer, clip=recipe.clip)
        if block is not None:
            config = HBOConfig.model_validate({"levels": LEVELS, **block})
            counts = [len(rows) for rows in datasets]
            data = _laid_out(trainer.train_dataset, names, counts, sets, config)
            method = _method(config, data, seed, rows_per_step, steps)
            # All of the model is trained, which is as small as an adapter.
            choice = choose({"adapter": "lora"}, config, method.signals, held_out=True, tied=True)
            row_weights = _row_weights(config, data, seed, rows_per_step, steps)
            attach(trainer, Run(trainer, data, config, choice, method, row_weights, seed))
            # One epoch after the other, of rows: nothing is packed.
            training.rows = chain.from_iterable(repeat(training.run.new_batcher()))  # type: ignore[arg-type]
            training.run.begin(0)
        return training

    def step(self, number: int, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Make an optimizer step on rows, or on those that hbo draws; returns them."""
        batch = self.trainer.args.per_device_train_batch_size
        if rows is None:
            rows = np.fromiter((next(self.rows) for _ in range(batch)), np.int64, batch)  # type: ignore[arg-type]
        inputs = pad(fetch(self.trainer.train_dataset, rows))
        self.trainer.training_step(self.model, inputs)
        if self.clip < math.inf:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        if self.trainer.lr_scheduler is not None:
            self.trainer.lr_scheduler.step()
        self.model.zero_grad()
        if self.rows is not None:
            with redirect_stdout(sys.stderr):  # stdout is for the result
                self.run.after_step(number, last=number == self.trainer.args.max_steps)
            if number % 10 == 0:
                with self.run.clock("logging"):
                    self.run.scalars()
        return rows


def _laid_out(
    train: Dataset, names: Sequence[str], counts: Sequence[int], held_out: Mapping[str, Rows], config: HBOConfig
) -> RunData:
    """The data of a run, of datasets with so many rows each; as in the product, a target's sets are halved."""
    levels = max(config.levels_of(names))
    sizes = np.array([np.diff(np.arange(levels + 1) * count // levels) for count in counts])
    cells = Cells(tuple(names), sizes, lengths(train), trained(train), ())
    pairs = {name: halves(np.arange(len(held_out[name])), name) for name in config.target or ()}
    judging = {
        name: [rows[row] for row in pairs[name][0]] if name in pairs else rows for name, rows in held_out.items()
    }
    steering = {name: [held_out[name][row] for row in half] for name, (_, half) in pairs.items()} or held_out
    return RunData(
        train,
        cells,
        _held(judging),
        {name: name for name in [*names, *held_out]},
        steering=_held(steering),
        target=target_shares(config.target, [*held_out]),
        tied=ties(names, held_out, {}),
    )


def _held(sets: Mapping[str, Rows]) -> HeldOutRows:
    """Held-out sets, one after the other."""
    ends = np.cumsum([0, *map(len, sets.values())]).tolist()
    ranges = {name: range(*ends[number : number + 2]) for number, name in enumerate(sets)}
    rows = Dataset.from_list(_together([*sets.values()]))
    return HeldOutRows(rows, lengths(rows), ranges)


def _method(config: HBOConfig, data: RunData, seed: int, rows_per_step: int, steps: int) -> Method:
    """The method of a run, which starts target first where the product's would."""
    cells, prior = data.cells, None
    count = counted(data.tied, data.target)
    if config.target and config.takes_default_prior and 0 < len(count) < len(cells.names):
        prior = target_first(cells, config, count, steps=steps, capacity=rows_per_step, packed=False)
    return config.make_method(
        cells.sizes, cells.names, seed=seed, batch=rows_per_step, prior=prior, target=data.target, counted=count
    )


def _row_weights(config: HBOConfig, data: RunData, seed: int, rows_per_step: int, steps: int) -> RowWeights | None:
    """The row weights of a run; a column has numbers at random, from 0 to 2."""
    if config.row_weights is None:
        return None
    cells = data.cells
    run = config.facts(
        cells.names,
        seed=seed,
        batch=rows_per_step,
        target=data.target,
        counted=counted(data.tied, data.target),
    )
    values = np.random.default_rng(seed).uniform(0, 2, len(cells.lengths))
    return make_row_weights(
        config.row_weights, run, values=values, trained=cells.trained, steps=steps, levels=cells.levels
    )


def _together(datasets: Sequence[Rows]) -> Rows:
    return [row for rows in datasets for row in rows]
