"""What the training batches say against what probes say: each signal that has both sources, at five moments of a run."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.table import Table

from benchmarks.packing import DEMO
from benchmarks.tasks import LEARNABLE, task_rows
from hbo_plugin.bench.report import environment, wide_console
from hbo_plugin.methods.static import Static
from hbo_plugin.outputs import STDOUT, json_option, write_json
from hbo_plugin.signals.table import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from benchmarks.training_run import Rows

SHARED = tuple(name for name, signal in SIGNALS.items() if {"reuse", "probe"} <= signal.sources.keys())
MOMENTS = 5
"""Equal parts of a run; the training batches of each are compared with probes at its end."""
PROBED = 2
"""Samples of the probes that are averaged, since one differs from the next."""


class Watch(Static):
    """`method: uniform` that asks for every signal, so that both sources see one run whose weights stay."""

    signals = SHARED


@dataclass(frozen=True)
class Agreement:
    """A signal of one model.

    Attributes:
        model: what is trained.
        signal: name.
        correlation: at each moment, of both sources' values over the datasets, or over the cells.
        ratio: at each moment, the median over these of the batches' value by the probes'.
    """

    model: str
    signal: str
    correlation: list[float]
    ratio: list[float]


@click.command()
@click.option(
    "--steps",
    default=100,
    type=click.IntRange(min=MOMENTS),
    show_default=True,
    help="Optimizer steps of the small model's run.",
)
@click.option(
    "--demo-steps",
    default=40,
    type=click.IntRange(min=0),
    show_default=True,
    help="The same for the demo's model; 0 leaves it out.",
)
@json_option
def signals(*, steps: int, demo_steps: int, json_to: Path | None) -> None:
    """Measure each signal from the training batches and by probes. About ten minutes on a core, most of it for the demo's model."""
    found = _compared("small", *_small(), steps=steps, rows=32, rate=2e-3)
    if demo_steps:
        found += _compared("demo", *_demo(), steps=demo_steps, rows=8, rate=1e-3)
    if json_to != STDOUT:
        table = Table(title="Training batches against probes", title_justify="left", title_style="bold")
        for header in ("model", "signal", "correlation", "ratio"):
            table.add_column(header)
        for each in found:
            table.add_row(
                each.model,
                each.signal,
                *(" ".join(f"{x:.2f}" for x in values) for values in (each.correlation, each.ratio)),
            )
        wide_console().print(table)
    if json_to is not None:
        settings = {"steps": steps, "demo_steps": demo_steps}
        write_json(
            json_to, {"rows": [asdict(each) for each in found], "settings": settings, "environment": environment()}
        )


def _small() -> tuple[Any, list[Rows]]:
    """The model of `benchmarks compare`, trained to begin with, and eight tasks."""
    from benchmarks.comparison import FIRST_STEPS, first_model

    rng = np.random.default_rng(0)
    return first_model(FIRST_STEPS), [task_rows(name, 400, rng) for name in LEARNABLE]


def _demo() -> tuple[Any, list[Rows]]:
    """The demo's model with new LoRA adapters, and its six tasks."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not DEMO.is_dir():
        msg = f"there are no rows in `{DEMO}`: run `make demo` in this folder first, or set `--demo-steps 0`."
        raise click.ClickException(msg)
    folder = DEMO.parents[1] / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")

    def tokenised(row: dict[str, Any]) -> dict[str, Any]:
        if "messages" in row:
            question, answer = (f"{message['content']}\n" for message in row["messages"])
        else:
            question, answer = row.get("instruction", ""), row.get("output", row.get("text", ""))
        before, after = tokenizer(question)["input_ids"], tokenizer(answer)["input_ids"]
        return {"input_ids": before + after, "labels": [-100] * len(before) + after}

    files = sorted(DEMO.glob("*.jsonl"))
    rows = [[tokenised(json.loads(line)) for line in file.read_text().splitlines()] for file in files]
    return get_peft_model(model, config), rows


def _compared(
    name: str, model: Any, datasets: Sequence[Rows], *, steps: int, rows: int, rate: float
) -> list[Agreement]:
    from benchmarks.training_run import Training
    from hbo_plugin.signals.probes import Probes

    every = steps // MOMENTS
    block = {"method": f"{__name__}.{Watch.__name__}", "update_every": every, "levels": 4}
    held_out = [each[:1] for each in datasets]
    with tempfile.TemporaryDirectory() as folder:
        training = Training.of(
            model, datasets, held_out, rows_per_step=rows, steps=steps + 1, folder=Path(folder), block=block
        )
        source = training.run.sources["reuse"]
        reused: list[dict[str, NDArray[np.float64]]] = []
        measure = source.measure
        source.measure = lambda step: reused.append(measure(step)) or reused[-1]  # type: ignore[method-assign,func-returns-value]
        probes = Probes(SHARED, training.run.context)
        probes.begin(0)
        probed = []
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        for step in range(1, steps + 1):
            training.step(step)
            if step % every == 0:
                samples = [probes.measure(PROBED * step + sample) for sample in range(PROBED)]
                probed.append({signal: np.mean([each[signal] for each in samples], axis=0) for signal in SHARED})
    agreements = []
    for signal in SHARED:
        correlation, ratio = [], []
        for ours, theirs in zip(reused, probed, strict=True):
            # Of a cell that was not drawn, nothing is known.
            both = np.isfinite(ours[signal]) & np.isfinite(theirs[signal])
            pair = ours[signal][both], theirs[signal][both]
            correlation.append(float(np.corrcoef(pair)[0, 1]))
            ratio.append(float(np.median(pair[0] / pair[1])))
        agreements.append(Agreement(name, signal, correlation, ratio))
    return agreements
