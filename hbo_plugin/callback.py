"""The callback: tells the run when the training begins, makes a step and ends, and keeps the console readable."""

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
from hbo_plugin.training.run import Run


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
            terminal.show(terminal.banner(self._run, state.max_steps))
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
            terminal.show(terminal.summary(self._run.journal.trace.read()))


def keep_off_the_console(callbacks: list[TrainerCallback]) -> None:
    """Let the callbacks that print each logged line leave hbo's scalars out, in which the loss would drown."""
    for callback in callbacks:
        if isinstance(callback, PrinterCallback | ProgressCallback):
            callback.on_log = _without_hbo(callback.on_log)  # type: ignore[method-assign]


def _without_hbo(on_log: Callable[..., None]) -> Callable[..., None]:
    def print_rest(*args: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        on_log(*args, logs=logs and {key: value for key, value in logs.items() if not key.startswith("hbo/")}, **kwargs)

    return print_rest
