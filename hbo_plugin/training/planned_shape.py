"""The planned shape: what an optimizer step will be made of, before there is a trainer whose arguments say it."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hbo_plugin import options
from hbo_plugin.generation import GenerationBatch
from hbo_plugin.kinds import kind_of
from hbo_plugin.training.step_shape import StepShape


def planned_shape(cfg: Any, steps: int) -> StepShape:
    """The shape of a step of a run.

    Args:
        cfg: Axolotl's configuration.
        steps: optimizer steps of the run.

    Raises:
        ValueError: answers that are generated together could not all be trained on.
    """
    ranks = cfg.batch_size // (cfg.micro_batch_size * cfg.gradient_accumulation_steps)
    arguments = {
        "train_batch_size": cfg.micro_batch_size,
        "dataloader_num_workers": cfg.dataloader_num_workers,
        "gradient_accumulation_steps": cfg.gradient_accumulation_steps,
        "max_steps": steps,
        "sample_packing": cfg.sample_packing,
        "max_seq_length": cfg.sequence_len,
        "multipack_real_batches": options.one_bin_a_row(cfg),
    }
    shape = StepShape.of(SimpleNamespace(**arguments), ranks)
    if not kind_of(cfg).generates:
        return shape
    generation = GenerationBatch.of_config(cfg)
    saved = cfg.save_steps or 0
    every = math.ceil(saved * steps) if saved < 1 else saved  # as the Trainer takes a share of the run
    generation.check(max_steps=steps, save_steps=every)
    return replace(shape, generation=generation)
