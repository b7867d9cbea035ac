"""The memory that looking at a model takes, at its highest, in bytes for each logit of a batch."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from hbo_plugin.bench.report import environment, wide_console
from hbo_plugin.outputs import STDOUT, json_option, write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hbo_plugin.signals.context import Context

ROWS = 4
WHAT = {
    "plain": "a training step",
    "observed": "the same, and its batch is looked at",
    "fused": "looking at a batch whose loss leaves no logits",
    "probe": "a pass over rows, for their losses",
    "gradient_probe": "the same, for their gradient",
    "scoring": "the losses of rows by the initial model",
}


@click.command()
@click.option(
    "--tokens",
    default=512,
    type=click.IntRange(min=2),
    show_default=True,
    help=f"Of each of the {ROWS} rows of a batch.",
)
@click.option("--vocabulary", default=128_256, type=click.IntRange(min=2), show_default=True, help="Of the model.")
@json_option
def memory(*, tokens: int, vocabulary: int, json_to: Path | None) -> None:
    """Measure the highest memory of each way to look at a model, whose layers are so small that logits are what takes it.

    A minute, and 5 GB at the default sizes. A training step in mixed precision holds its logits three or four times.
    """
    found = {name: value / (ROWS * tokens * vocabulary) for name, value in peaks(tokens, vocabulary).items()}
    if json_to != STDOUT:
        table = Table(title="Bytes a logit", title_justify="left", title_style="bold")
        table.add_column("")
        table.add_column("highest", justify="right")
        for name, value in found.items():
            table.add_row(WHAT[name], f"{value:.2f}")
        wide_console().print(table)
    if json_to is not None:
        settings = {"rows": ROWS, "tokens": tokens, "vocabulary": vocabulary}
        write_json(json_to, {**found, "settings": settings, "environment": environment()})


def peaks(tokens: int, vocabulary: int, device: str = "cpu") -> dict[str, int]:
    """Bytes that each of the ways in `WHAT` holds at its highest, beside the model, on a device of this type."""
    return {name: _peak(way, device) for name, way in ways(tokens, vocabulary, device).items()}


def ways(tokens: int, vocabulary: int, device: str = "cpu") -> dict[str, Callable[[], None]]:
    """Each of the ways in `WHAT`, to be called."""
    import torch
    from accelerate import Accelerator
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM

    from hbo_plugin.signals.head import Head
    from hbo_plugin.signals.passes import answer_loss, pass_over
    from hbo_plugin.signals.reuse import Reuse
    from hbo_plugin.signals.sources import Batch
    from hbo_plugin.signals.tokens import Logits, Predictions

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    bare: Any = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **shape))
    model = Accelerator(mixed_precision="bf16", cpu=device == "cpu").prepare_model(bare.to(torch.bfloat16))
    made = torch.randint(0, vocabulary, (ROWS, tokens))
    batch = {"input_ids": made, "attention_mask": torch.ones_like(made), "labels": made}
    ids = made.to(device)  # as the training hands them to the model, while a pass of hbo's own brings its batch there
    context = _context(model, tokens)
    whose = np.repeat(np.arange(ROWS), tokens).reshape(ROWS, tokens)
    rows = Dataset.from_dict({name: values.tolist() for name, values in batch.items()})
    names = ("loss", "entropy")
    source = Reuse(("gradient_norm", "perplexity_ratio"), context)

    def step(look: Callable[[Any], None] = lambda _: None) -> None:
        model.train()
        output = model(input_ids=ids, labels=ids)
        look(output)
        loss = output.loss
        del output
        loss.backward()
        model.zero_grad(set_to_none=True)

    def observed() -> None:
        def look(output: Any) -> None:
            predictions = Predictions.of(Logits.whole(output.logits), ids, whose, names, scaled=True)
            source.observe(Batch({}, output, [[index] for index in range(ROWS)], predictions))

        with source.watching():
            step(look)

    def fused() -> None:
        head = Head(model)

        def look(states: torch.Tensor) -> None:
            Predictions.of(head.of(states), ids, whose, names, scaled=True)

        with head.watching(look):
            bare.model(ids, use_cache=False)

    def gradient() -> None:
        answer_loss(model, batch)[0].sum().backward()
        model.zero_grad(set_to_none=True)

    def scoring() -> None:
        with torch.no_grad():
            answer_loss(bare.eval(), batch)

    def probe() -> None:
        pass_over(context, rows, np.arange(ROWS), context.cells.lengths, names)

    return {
        "plain": step,
        "observed": observed,
        "fused": fused,
        "probe": probe,
        "gradient_probe": gradient,
        "scoring": scoring,
    }


def _context(model: Any, tokens: int) -> Context:
    """A run over rows of so many tokens."""
    from hbo_plugin.cells import Cells
    from hbo_plugin.signals.context import Context

    lengths = np.full(ROWS, tokens, np.int32)
    trainer = SimpleNamespace(
        model=model,
        args=SimpleNamespace(per_device_train_batch_size=ROWS),
        processing_class=None,
        compute_loss_context_manager=nullcontext,
    )
    return Context(trainer, Cells(("a",), np.array([[ROWS]]), lengths, lengths - 1, ()))


def _peak(way: Callable[[], None], device: str) -> int:
    """Bytes that something holds at its highest, above what was there."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    way()  # what is made once
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        way()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        way()
    events = found.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    return int(np.cumsum([change for _, change in changes], dtype=np.int64).max(initial=0))
