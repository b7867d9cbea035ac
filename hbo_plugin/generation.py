"""Generation batches: the prompts whose answers GRPO generates together and then trains on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_GENERATIONS, _ITERATIONS = 8, 1
"""Of the trainer, where a configuration does not say."""


@dataclass(frozen=True)
class GenerationBatch:
    """What is generated together, on all ranks.

    Attributes:
        prompts: of the batch; each is a row.
        generations: answers to each prompt.
        repeats: how often a rank's loader is asked for its part of the batch: once for each micro-batch.
        steps: optimizer steps that are made on it.
    """

    prompts: int
    generations: int
    repeats: int
    steps: int

    @classmethod
    def of(cls, args: Any, ranks: int) -> GenerationBatch:
        """The batch that the arguments of a GRPO trainer ask for; see `of_config`."""
        micro_batch = args.train_batch_size * ranks
        step = micro_batch * args.gradient_accumulation_steps
        return cls._of(args.generation_batch_size, args.num_generations, args.num_iterations, micro_batch, step)

    @classmethod
    def of_config(cls, cfg: Any) -> GenerationBatch:
        """The batch that Axolotl's configuration asks for.

        Raises:
            ValueError: an optimizer step would need several, or a part of one; that groups of answers are whole, the trainer checks.
        """
        trl = cfg.trl or {}
        micro_batch = cfg.batch_size // cfg.gradient_accumulation_steps
        generations, iterations = trl.get("num_generations") or _GENERATIONS, trl.get("num_iterations") or _ITERATIONS
        answers = trl.get("generation_batch_size") or cfg.batch_size
        return cls._of(answers, generations, iterations, micro_batch, cfg.batch_size)

    @classmethod
    def _of(cls, answers: int, generations: int, iterations: int, micro_batch: int, step: int) -> GenerationBatch:
        """The batch by its answers, those of a micro-batch and those of a step, each on all ranks."""
        if answers * iterations % step:
            msg = (
                f"the answers of a generation batch are trained on {answers * iterations} times, and an optimizer step takes {step}; "
                f"set `trl.generation_batch_size` so that the first is a multiple of the second."
            )
            raise ValueError(msg)
        repeats = answers * iterations // micro_batch
        return cls(answers // generations, generations, repeats, answers * iterations // step)

    def steps_of(self, rows: int, epochs: float) -> int:
        """The optimizer steps of so many epochs of so many rows, in whole generation batches."""
        return math.ceil(rows / self.prompts * epochs) * self.steps

    def check(self, **given: float) -> None:
        """Raise a ValueError where a number of steps, by its key, ends inside the steps of a batch, whose answers would be lost."""
        for key, steps in given.items():
            if steps % self.steps:
                msg = (
                    f"`{key}: {steps:g}` lies inside the {self.steps} steps that are made on the answers of one generation batch, "
                    f"which no checkpoint keeps; set it to a multiple of {self.steps}."
                )
                raise ValueError(msg)

    def __str__(self) -> str:
        steps = f" for {self.steps} steps" if self.steps > 1 else ""
        return f"{self.prompts} prompts x {self.generations} answers{steps}"
