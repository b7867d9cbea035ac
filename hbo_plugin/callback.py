"""The callback: tells the run when the training begins, makes a step and ends, and keeps the console readable."""

import logging
from collections.abc import Callable
from typing import Any

from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from hbo_plugin.report import terminal
from hbo_plugin.report.banner import Banner, BannerDataset
from hbo_plugin.report.summary import summarise
from hbo_plugin.row_weights.settings import told
from hbo_plugin.signals.choice import SOURCES
from hbo_plugin.training.run import Run

LOG = logging.getLogger(__name__)


class HBOCallback(TrainerCallback):
    """Steps end after the gradients are cleared and before log, evaluation and checkpoint: the place to measure."""

    def __init__(self, run: Run) -> None:
        """Watch a run."""
        self._run = run

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the mixture, then begin."""
        if state.is_world_process_zero:
            terminal.show(_banner(self._run, step=state.global_step, steps=state.max_steps))
        self._run.begin(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step's rows and update the weights when it is time."""
        self._run.after_step(state.global_step, last=state.global_step >= state.max_steps)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the trace and show what became of the mixture."""
        self._run.end(state.global_step)
        if state.is_world_process_zero:
            try:
                found = summarise(self._run.journal.trace.history())
            except (OSError, ValueError) as error:  # a full disk must not undo the training
                LOG.warning("hbo: there is no summary of this run: %s", error)
            else:
                terminal.show(terminal.summary(found))


def _banner(run: Run, *, step: int, steps: int) -> Banner:
    cells, config, bins = run.data.cells, run.config, run.shape.bins
    datasets = []
    weighed = zip(cells.names, run.balancer.method.weights(), run.balancer.weights(), strict=True)
    for index, (name, asked, weights) in enumerate(weighed):
        rows = cells.dataset_rows(index)
        datasets.append(
            BannerDataset(
                name=name,
                raw_rows=run.data.raw_rows.get(name),
                rows=len(rows),
                mean_length=float(cells.lengths[rows.start : rows.stop].mean()),
                asked=float(asked.sum()),
                weight=float(weights.sum()),
                held_out=len(run.data.judging.sets.get(run.data.tied.get(name, ""), ())),
            )
        )
    batch = f"batches of {bins}; up to {bins.window} rows wait" if bins else ""
    return Banner(
        method=run.balancer.method_name,
        levels=cells.levels,
        difficulty=config.difficulty,
        datasets=datasets,
        unit=config.unit,
        signals={SOURCES[source][1]: names for source, names in run.choice.names.items()},
        moments=str(run.moments),
        step=step,
        steps=steps,
        row_weights=told(config.row_weights) if config.row_weights else "",
        batch=batch,
        notes=run.notes,
    )


def keep_off_the_console(callbacks: list[TrainerCallback]) -> None:
    """Let the callbacks that print each logged line leave hbo's scalars out, in which the loss would drown."""
    for callback in callbacks:
        if isinstance(callback, PrinterCallback | ProgressCallback):
            callback.on_log = _without_hbo(callback.on_log)  # type: ignore[method-assign]


def _without_hbo(on_log: Callable[..., None]) -> Callable[..., None]:
    def print_rest(*args: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        on_log(*args, logs=logs and {key: value for key, value in logs.items() if not key.startswith("hbo/")}, **kwargs)

    return print_rest
