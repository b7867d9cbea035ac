"""A small training run without Axolotl: the Trainer's own step, with hbo attached as the plugin attaches it."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.data.load import RunData
from hbo_plugin.data.rows import lengths, trained
from hbo_plugin.signals.context import HeldOutRows
from hbo_plugin.signals.padding import fetch, pad
from hbo_plugin.signals.sources import choose
from hbo_plugin.trainer import attach
from hbo_plugin.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LEVELS = 4


def _tiny() -> Any:
    """Two layers of width 64 and 600 tokens, at random."""
    return _model(vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2)


def _smollm2() -> Any:
    """The shape of SmolLM2-135M, at random: what is measured does not depend on the weights."""
    return _model(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )


def small_model(vocabulary: int) -> Any:
    """Three layers of width 96, at random."""
    return _model(
        vocab_size=vocabulary, hidden_size=96, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4
    )


def _model(**shape: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**shape))


MODELS = {"tiny": _tiny, "smollm2": _smollm2}


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


@dataclass
class Training:
    """A model with its trainer and optimizer, and the rows that hbo draws if it takes part."""

    model: Any
    trainer: Any
    optimizer: Any
    rows: Iterator[int] | None = None

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
        held_out: Sequence[Rows],
        *,
        rows_per_step: int,
        steps: int,
        folder: Path,
        block: dict[str, Any] | None,
        seed: int = 0,
    ) -> Training:
        """Make one.

        Args:
            model: to be trained.
            datasets: the rows of each.
            held_out: the same for the rows that are held out.
            rows_per_step: in one micro-batch.
            steps: of the whole run.
            folder: for the trace.
            block: the `hbo:` block; None trains without.
            seed: of the stream.
        """
        args = TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=rows_per_step,
            max_steps=steps,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        args.sample_packing = False  # type: ignore[attr-defined]  # one of Axolotl's
        # Levels are by length; without hbo too, so that a number is the same row in both.
        ordered = [sorted(rows, key=lambda row: len(row["input_ids"])) for rows in datasets]
        trainer: Any = Trainer(model=model, args=args, train_dataset=Dataset.from_list(_together(ordered)))
        trainer.current_gradient_accumulation_steps = 1  # what its loop would set
        trainer.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        training = cls(model, trainer, trainer.optimizer)
        if block is not None:
            config = HBOConfig.model_validate({"levels": LEVELS, **block})
            data = _laid_out(
                trainer.train_dataset, [len(rows) for rows in datasets], held_out, max(config.levels_of([""]))
            )
            method = config.make_method(data.cells.sizes, data.cells.names, seed=seed, batch=rows_per_step)
            choice = choose({}, config, method.signals, held_out=True, tied=True)
            attach(trainer, Run(trainer, data, config, choice, method, seed))
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
        self.optimizer.step()
        self.model.zero_grad()
        if self.rows is not None:
            with redirect_stdout(sys.stderr):  # stdout is for the result
                self.run.after_step(number, last=False)
            if number % 10 == 0:
                with self.run.clock("logging"):
                    self.run.scalars()
        return rows


def _laid_out(train: Dataset, counts: Sequence[int], held_out: Sequence[Rows], levels: int) -> RunData:
    """The data of a run, of datasets with so many rows each."""
    names = tuple(f"set{number}" for number in range(len(counts)))
    sizes = np.array([np.diff(np.arange(levels + 1) * count // levels) for count in counts])
    ends = np.cumsum([0, *map(len, held_out)]).tolist()
    ranges = {name: range(*ends[number : number + 2]) for number, name in enumerate(names)}
    rows = Dataset.from_list(_together(held_out))
    held = HeldOutRows(rows, lengths(rows), ranges)
    cells = Cells(names, sizes, lengths(train), trained(train), ())
    same = dict(zip(names, names, strict=True))
    even = dict.fromkeys(names, 1 / len(names))
    return RunData(train, cells, held, same, steering=held, target=even, tied=same)


def _together(datasets: Sequence[Rows]) -> Rows:
    return [row for rows in datasets for row in rows]
