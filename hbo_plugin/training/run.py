"""One training run: the balancer with its signals, its files, and what happens before and after each step."""

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.args import HBOConfig
from hbo_plugin.clock import Clock
from hbo_plugin.data.load import RunData
from hbo_plugin.methods import Method
from hbo_plugin.packing import WINDOW, PackedBatchSampler
from hbo_plugin.plan import Plan
from hbo_plugin.signals import Probes, Reuse
from hbo_plugin.trace import ROWS_FILE, TRACE_FILE, JsonLines, Trace
from hbo_plugin.training import checkpoint
from hbo_plugin.training.agreement import Agreement
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.sampler import PackedStreamSampler, Sampler, StreamSampler

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bins:
    """The shape of a packed batch, as `PackedBatchSampler` takes it."""

    capacity: int
    bins_per_batch: int
    window: int

    @classmethod
    def of(cls, args: Any) -> "Bins":
        """The shape that Axolotl's trainer asks for.

        Args:
            args: of the trainer. `multipack_real_batches` is set where attention cannot tell packed rows apart in one
                long bin, and the rows of a batch are bins.
        """
        rows, tokens = args.train_batch_size, args.max_seq_length
        capacity, bins = (tokens, rows) if args.multipack_real_batches else (tokens * rows, 1)
        # No row waits much longer than for 4 steps; the bound below keeps bins full where a step has few of them.
        window = 4 * bins * args.gradient_accumulation_steps * args.world_size
        return cls(capacity, bins, min(max(window, WINDOW // 4), WINDOW))


class Run:
    """Everything that hbo knows about one training run."""

    def __init__(self, trainer: Any, data: RunData, config: HBOConfig, plan: Plan, method: Method, seed: int) -> None:
        """Build the balancer, the probes and the files for a Trainer that was just made.

        Args:
            trainer: of Axolotl; its `max_steps` is the length of the run.
            data: what the trainer trains on.
            config: the `hbo:` block.
            plan: where the method's signals come from.
            method: new; the run moves it.
            seed: of the stream and of the probes.
        """
        args = trainer.args
        self.data = data
        self.config = config
        self._micro_batch: int = args.train_batch_size
        self._batches_per_step: int = args.gradient_accumulation_steps * args.world_size
        self.bins = Bins.of(args) if args.sample_packing else None
        """The shape of a packed batch; None where rows are not packed."""
        batch = self._micro_batch if self.bins is None else self.bins.bins_per_batch * self.bins.capacity
        self._batches_per_run: int = args.max_steps * self._batches_per_step
        self.balancer = Balancer(
            data.cells, config, method, seed=seed, total=self._batches_per_run * batch, packed=self.bins is not None
        )
        self._rank: int = args.process_index
        self._ranks: int = args.world_size
        self.plan = plan
        self._reuse = Reuse(trainer, data.cells, plan.reused, gradient_rows=config.gradient_rows)
        # As many rows as probes would take: to look at more costs time, and shows little more.
        rows = config.forward_rows * data.cells.sizes.size
        seen = config.update_every * self._batches_per_step * self._micro_batch
        self.observed_every = min(max(1, seen // rows), config.update_every)
        """Of so many steps in a row, the last is observed: whole steps, however they are shared out over ranks."""
        self._given = 0  # micro-batches of this rank's step
        self._steps = 0
        self._agreement = Agreement(trainer)
        self._first_step = 1
        self._probes = Probes(
            trainer,
            data.cells,
            gradient_rows=config.gradient_rows,
            forward_rows=config.forward_rows,
            seed=seed,
            held_out=data.held_out,
            held_out_rows=data.held_out_rows if plan.held_out else {},
        )
        self.clock = Clock()
        self.trace = Trace(Path(args.output_dir) / TRACE_FILE)
        self._rows = JsonLines(Path(args.output_dir) / ROWS_FILE)
        self._writes: bool = args.should_save
        self._sampler: Sampler | None = None
        self._begun = False
        self._signals: dict[str, float] = {}
        self._delay: dict[str, float] = {}
        self._elapsed = 0.0
        self._started = time.perf_counter()

    @property
    def _step(self) -> str:
        """What an optimizer step is made of, on all ranks together."""
        batches = self._batches_per_step
        return f"{batches * self._micro_batch} rows" if self.bins is None else f"{batches} packed batches"

    def new_sampler(self) -> Sampler:
        """A sampler for a training DataLoader."""
        sampler = self._rows_sampler() if self.bins is None else self._batches_sampler(self.bins)
        # Callbacks may build more loaders during the training; the one that is trained on is built before it begins.
        if not self._begun:
            self._sampler = sampler
        return sampler

    def _rows_sampler(self) -> StreamSampler:
        step = self._micro_batch * self._batches_per_step
        epoch = math.ceil(len(self.data.train) / step) * step
        return StreamSampler(
            self.balancer,
            self.clock,
            micro_batch=self._micro_batch,
            rows_per_step=step,
            rows_per_epoch=epoch,
            rows_per_run=self._batches_per_run * self._micro_batch,
        )

    def _batches_sampler(self, bins: Bins) -> PackedStreamSampler:
        """An epoch is as many batches as the tokens of the training set fill."""
        lengths = self.data.cells.lengths
        step = bins.capacity * bins.bins_per_batch * self._batches_per_step
        epoch = math.ceil(int(lengths.sum()) / step) * self._batches_per_step
        batches = PackedBatchSampler(self.balancer.mixture, lengths, **asdict(bins), batches_per_epoch=epoch)
        return PackedStreamSampler(
            self.balancer,
            self.clock,
            batches,
            batches_per_step=self._batches_per_step,
            batches_per_run=self._batches_per_run,
        )

    def begin(self, step: int) -> None:
        """The training begins: afresh at step 0, or at the step of the checkpoint that was loaded."""
        self._begun = True
        self._first_step = step + 1
        self._started = time.perf_counter()
        self._steps = step
        if self._writes:
            self.trace.begin(step)
            if self.config.record_rows:
                self._rows.begin(step)
            else:
                self._rows.clear()
        if step == 0 and "perplexity_ratio" in self.plan.probed:
            with self.clock("signals"):
                self._probes.start()
        if step == 0:
            self._tell_capped(self.balancer.capped)
        if step == 0 and self._writes:
            self.trace.append({"step": 0, "event": "start", **self.balancer.record()})

    def next_batch(self) -> list[list[int]] | None:
        """The rows in each line of this rank's next micro-batch, if it is one to be observed."""
        batch = self._given * self._ranks + self._rank
        self._given += 1
        if not self.plan.reused or (self._steps + 1) % self.observed_every:
            return None
        return self._active.lines(batch)

    def observe(self, logits: Any, labels: Any, lines: list[list[int]]) -> None:
        """Take notice of a training micro-batch: logits [lines, tokens, vocabulary], labels and rows of its lines."""
        if logits is None:
            msg = (
                "the loss computation gave no logits, by which hbo would tell the rows of a batch apart: "
                "set `hbo.signals: probe`, or turn the fused loss off."
            )
            raise RuntimeError(msg)
        with self.clock("signals"):
            self._reuse.observe(logits, labels, lines)

    def settle(self) -> None:
        """Bring together what all ranks observed; every rank calls it before a checkpoint."""
        with self.clock("signals"):
            self._reuse.settle()

    @property
    def _active(self) -> Sampler:
        if self._sampler is None:
            msg = "a step was made on rows that hbo did not draw: another plugin replaced the training DataLoader"
            raise RuntimeError(msg)
        return self._sampler

    def after_step(self, step: int, *, last: bool) -> None:
        """Count the rows of an optimizer step that was just made, and update the weights when it is time."""
        self._given, self._steps = 0, step
        with self.clock("sampling"):
            rows = self._active.take()
            self.balancer.count(rows)
            self._agreement.count(rows)
        if self.config.record_rows and self._writes:
            with self.clock("logging"):
                self._rows.append({"step": step, "rows": rows.tolist()})
        due = step % self.config.update_every == 0
        if due and not last and self.balancer.method.signals:
            self._update(step, self._active.head)
        if due or step == self._first_step:
            with self.clock("update"):
                self._agreement.check(step, self.balancer.weights(), self._active.head)

    def _update(self, step: int, head: int) -> None:
        dropped = self._dropped
        with self.clock("signals"):
            signals = {**self._reuse.measure(), **self._probes.measure(self.plan.probed, step)}
        if self._dropped > dropped:
            LOG.warning(
                "hbo: %d measurements at step %d were not finite and were left out (%d in this run)",
                self._dropped - dropped,
                step,
                self._dropped,
            )
        before = self.balancer.capped
        with self.clock("update"):
            self.balancer.update(signals, head)
        self._tell_capped(self.balancer.capped & ~before)
        self._signals = self._named(signals)
        rows = head - self.balancer.trained
        self._delay = {"hbo/delay/rows": float(rows), "hbo/delay/steps": rows * step / self.balancer.trained}
        if self._writes:
            with self.clock("logging"):
                record = {**self.balancer.record(), "signals": self._signals, "delay": self._delay}
                self.trace.append({"step": step, "event": "update", "head": head, **record})

    def _tell_capped(self, capped: NDArray[np.bool_]) -> None:
        """Say which datasets the cap has begun to hold down, of cells bool[datasets * levels]."""
        for name, cells in zip(self.data.cells.names, capped.reshape(self.data.cells.sizes.shape), strict=True):
            if cells.any():
                LOG.info(
                    "hbo: `max_epochs` holds down %d of the %d levels of dataset `%s`; what they lose goes to the others",
                    cells.sum(),
                    cells.size,
                    name,
                )

    @property
    def _dropped(self) -> int:
        return self._probes.dropped + self._reuse.dropped

    def _named(self, signals: dict[str, NDArray[np.float64]]) -> dict[str, float]:
        """Signals as scalars; what was not measured is left out."""
        named = {}
        for signal, values in signals.items():
            for index, value in np.ndenumerate(values):
                if np.isfinite(value):
                    level = "".join(f"/{level}" for level in index[1:])
                    named[f"hbo/signal/{signal}/{self.data.cells.names[index[0]]}{level}"] = float(value)
        return named

    def end(self, step: int) -> None:
        """The training ended at this step."""
        if self._writes:
            self.trace.append({"step": step, "event": "end", **self.balancer.record()})

    def held_out_losses(self, step: int) -> dict[str, float]:
        """Mean loss a token of the held-out rows of each dataset, in nats; empty without held-out rows."""
        losses = self._probes.held_out_losses()
        if losses and self._writes:
            self.trace.append({"step": step, "event": "evaluate", "held_out": losses})
        return losses

    def scalars(self) -> dict[str, float]:
        """What goes to Axolotl's loggers and into `trainer_state.json`."""
        with self.clock("logging"):
            scalars = {**self.balancer.scalars(), **self._signals, **self._delay, **self._efficiency()}
        scalars["hbo/overhead/seconds"] = self.clock.total
        scalars["hbo/overhead/share"] = self.clock.total / max(1e-9, self._total_seconds())
        return scalars

    def _efficiency(self) -> dict[str, float]:
        """How full the packed batches were that were trained on."""
        if self.bins is None or self.balancer.packer is None:
            return {}
        bins = self.balancer.packer["batches"] * self.bins.bins_per_batch
        return {"hbo/packing/efficiency": float(self.balancer.tokens.sum()) / (bins * self.bins.capacity)}

    def _total_seconds(self) -> float:
        return self._elapsed + time.perf_counter() - self._started

    def save(self, folder: Path) -> None:
        """Write the state into a checkpoint, as a whole or not at all."""
        checkpoint.write(
            folder,
            {
                **self.balancer.state_dict(),
                "step": self._step,
                "probes": self._probes.state_dict(),
                "reuse": self._reuse.state_dict(),
                "signals": self._signals,
                "delay": self._delay,
                "elapsed": self._total_seconds(),
                "overhead": self.clock.seconds,
            },
        )

    def load(self, folder: Path) -> None:
        """Take up the state of a checkpoint; a ValueError says why it cannot be."""
        saved = checkpoint.read(folder)
        try:
            self._take_up(saved)
        except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # A whole state of the right version: a part of the run has changed what it saves.
            msg = (
                f"the state in `{folder}` does not fit this run ({error!r}): resume with the hbo and the method "
                f"that wrote it, or start afresh."
            )
            raise ValueError(msg) from error

    def _take_up(self, saved: dict[str, Any]) -> None:
        self.balancer.load_state_dict(saved)
        if saved["step"] != self._step:
            msg = (
                f"the checkpoint trained on {saved['step']} a step and this run would on {self._step}: keep "
                f"`sample_packing` and micro_batch_size * gradient_accumulation_steps * ranks as they were, "
                f"or start afresh."
            )
            raise ValueError(msg)
        self._probes.load_state_dict(saved["probes"])
        self._reuse.load_state_dict(saved["reuse"])
        self._signals = saved["signals"]
        self._delay = saved["delay"]
        self._elapsed = saved["elapsed"]
        self.clock.seconds = saved["overhead"]
