"""The journal: what a run tells its user. Scalars go to the loggers, records to the trace, one line to the console."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.data.held_out import TARGET, mean_loss
from hbo_plugin.methods.reading import SIGNALS
from hbo_plugin.trace import ROWS_FILE, TRACE_FILE, JsonLines, Trace
from hbo_plugin.training import console
from hbo_plugin.training.costs import Costs
from hbo_plugin.training.losses import Losses
from hbo_plugin.training.scalars import Scalars
from hbo_plugin.training.warnings import warn_of_nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hbo_plugin.clock import Clock
    from hbo_plugin.data.load import RunData
    from hbo_plugin.history import Stop
    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import StepShape


class Journal:
    """Knows what was measured last, and where the files are."""

    def __init__(
        self,
        folder: Path,
        balancer: Balancer,
        shape: StepShape,
        clock: Clock,
        data: RunData,
        *,
        writes: bool,
        log_levels: bool = False,
        record_rows: bool = False,
    ) -> None:
        """Write nothing yet.

        Args:
            folder: output folder of the run.
            balancer: of the run; it is only read.
            shape: of an optimizer step.
            clock: what hbo costs.
            data: of the run.
            writes: whether this rank writes the files and the console.
            log_levels: whether scalars are logged per level too.
            record_rows: whether the rows of each step are written.
        """
        self.trace = Trace(folder / TRACE_FILE)
        self._rows = JsonLines(folder / ROWS_FILE)
        self._balancer, self._cells = balancer, balancer.cells
        self._shape, self._data = shape, data
        self.costs = Costs(folder, clock, writes=writes)
        self._scalars = Scalars(balancer.cells, data.metric_names, data.target, log_levels=log_levels)
        self._writes, self._records_rows = writes, writes and record_rows
        self._step, self._told_used_up = 0, False
        self._signals: dict[str, float] = {}
        """Scalars of the last measurement."""
        self._weighed: dict[str, float] = {}
        """Scalars of the row weights when they were last told."""
        self._delay: dict[str, float] = {}
        """How much was still to be trained on under the old weights when the last new ones came."""
        self._losses = Losses()
        """That the trace does not have yet."""

    def begin(self, step: int, about: Mapping[str, Any]) -> None:
        """The training begins at a step: 0, or that of the checkpoint. A new trace begins with what `about` says."""
        self._step = step
        self.costs.begin(step)
        if not self._writes:
            return
        self.trace.begin(step)
        if self._records_rows:
            self._rows.begin(step)
        else:
            self._rows.clear()
        if step == 0:
            console.tell_capped(0, self._balancer, np.zeros_like(self._balancer.capped))
            self._write({"step": 0, "event": "start", "entries": self._data.entries, **about})

    def rows(self, step: int, rows: NDArray[np.int64]) -> None:
        """A step was made on these rows, int64[rows]."""
        self._step = step
        if self._records_rows:
            self._rows.append({"step": step, "rows": rows.tolist(), "raw_rows": self._raw_rows(rows)})

    def _raw_rows(self, rows: NDArray[np.int64]) -> list[int]:
        """The user's rows that these were made of, counted from 1; 0 where there is none."""
        origins = self._data.origins
        return [0] * len(rows) if origins is None else (origins[rows] + 1).tolist()

    def weighed(self, step: int, told: dict[str, Any]) -> None:
        """Row weights came to this since they were last told; see `Tally.take`."""
        self._weighed = self._scalars.of_row_weights(told)
        if self._writes:
            rows, weights = [row for row, _ in told["lowest"]], [weight for _, weight in told["lowest"]]
            lowest = zip(rows, self._raw_rows(np.array(rows, np.int64)), weights, strict=True)
            means = {key: self._by_name(told[key]) for key in ("datasets", "cells")}
            self.trace.append({"step": step, "event": "row_weights", **told, **means, "lowest": [*lowest]})

    def update(
        self,
        step: int,
        head: int,
        signals: Mapping[str, NDArray[np.float64]],
        before: tuple[NDArray[np.float64], NDArray[np.bool_]],
        stopped: Mapping[str, Stop],
    ) -> None:
        """The weights were updated.

        Args:
            step: the optimizer step that was just made.
            head: position from which the new weights act.
            signals: that the method was given.
            before: the old weights, float64[datasets, levels], and which cells were capped, bool[datasets * levels].
            stopped: datasets that overfitted.
        """
        self._signals = self._scalars.of_signals(signals)
        rows = head - self._balancer.trained
        self._delay = {"hbo/delay/rows": float(rows), "hbo/delay/steps": rows * step / self._balancer.trained}
        if self._writes:
            measured = {name: self._measured(name, values) for name, values in signals.items()}
            # With evaluations, they are told beside the held-out losses.
            losses = {} if self._data.judging.sets else {"training_loss": self._losses.take()}
            self._tell(step, head, before, stopped, {"signals": measured, "delay_rows": rows, **losses})

    def change(
        self,
        step: int,
        head: int,
        before: tuple[NDArray[np.float64], NDArray[np.bool_]],
        stopped: Mapping[str, Stop],
        record: Mapping[str, Any],
    ) -> None:
        """Weights that the method did not change act from a position; the arguments are those of `update`, and more to record."""
        if self._writes:
            self._tell(step, head, before, stopped, {**record})

    def evaluate(
        self, step: int, losses: Mapping[str, float], steering: Mapping[str, float], *, training: bool
    ) -> dict[str, float]:
        """Return the losses of held-out sets, in nats per token, and that of the target, as metrics name them."""
        target = mean_loss(losses, self._data.target)
        if self._writes and training:  # else the trace, if there is one, is that of an earlier run
            told = {"tied": self._data.tied, "training_loss": self._losses.take(), "steering": dict(steering)}
            self._append({"step": step, "event": "evaluate", "held_out": dict(losses), "target": target, **told})
        return {**{self._data.metric_names[name]: loss for name, loss in losses.items()}, TARGET: target}

    def end(self, step: int) -> None:
        """The training ended."""
        if self._writes:
            self._write({"step": step, "event": "end", "training_loss": self._losses.take()})

    def _write(self, record: dict[str, Any]) -> None:
        """Add a record with the weights in force and what was trained on so far."""
        balancer, shape = self._balancer, self._cells.sizes.shape
        cells = {
            "weights": balancer.weights(),
            "rows_trained": balancer.rows_trained.reshape(shape),
            "tokens": balancer.tokens.reshape(shape),
            "trained_tokens": balancer.trained_tokens.reshape(shape),
            "rows": self._cells.sizes,
            "capped": balancer.capped.reshape(shape),
        }
        if (efficiency := self._efficiency()) is not None:
            record = {**record, "efficiency": efficiency}
        named = {key: self._by_name(values.tolist()) for key, values in cells.items()}
        self._append({**record, "position": balancer.trained, "unit": balancer.unit, **named})

    def _append(self, record: dict[str, Any]) -> None:
        self.trace.append(record)
        self.costs.tell(record["step"])

    def _measured(self, signal: str, values: NDArray[np.float64]) -> dict[str, Any]:
        """A signal by dataset: a number, a list of one a level, or one by held-out set."""
        found = _json(values)
        if SIGNALS[signal].shape == "target":
            found = [dict(zip(self._data.target, of_sets, strict=True)) for of_sets in found]
        return self._by_name(found)

    def _by_name(self, values: list[Any]) -> dict[str, Any]:
        return dict(zip(self._cells.names, values, strict=True))

    def _tell(
        self,
        step: int,
        head: int,
        before: tuple[NDArray[np.float64], NDArray[np.bool_]],
        stopped: Mapping[str, Stop],
        record: dict[str, Any],
    ) -> None:
        """Say what new weights are like, and write a record of them."""
        weights, capped = before
        console.tell(step, self._balancer, weights, capped, stopped)
        if self._balancer.used_up and not self._told_used_up:
            self._told_used_up = True
            warn_of_nothing_left(step)
        if stopped:
            record = {**record, "stopped": {name: asdict(stop) for name, stop in stopped.items()}}
        self._write({"step": step, "event": "update", "head": head, **record})

    def scalars(self, seen: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
        """What goes to the loggers and into `trainer_state.json`, with what each source has seen, see `take_means`."""
        scalars = self._scalars.of_mixture(self._balancer)
        scalars |= {**self._signals, **self._weighed, **self._delay, **self.costs.scalars()}
        if (efficiency := self._efficiency()) is not None:
            scalars["hbo/packing/efficiency"] = efficiency
        means = {what: found for each in seen for what, found in each.items()}
        self._losses.add(means.get("loss", {}))
        return scalars | self._scalars.of_batches(means)

    def _efficiency(self) -> float | None:
        """How full the packed batches were that were trained on; None where there was none."""
        if self._shape.bins is None or not self._step:
            return None
        return float(self._balancer.tokens.sum()) / (self._step * self._shape.capacity)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run logs on, as plain JSON values."""
        return {
            "signals": self._signals,
            "row_weights": self._weighed,
            "delay": self._delay,
            "losses": self._losses.sums,
            **self.costs.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._signals, self._weighed = state["signals"], state["row_weights"]
        self._delay, self._losses.sums = state["delay"], state["losses"]
        self.costs.load_state_dict(state)


def _json(values: NDArray[np.float64]) -> list[Any]:
    """The values as nested lists; None for what was not measured."""
    found = values.astype(object)
    found[~np.isfinite(values)] = None
    nested: list[Any] = found.tolist()
    return nested
