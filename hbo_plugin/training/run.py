"""One training run: what happens before the first step, in each step and after it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbo_plugin.clock import Clock
from hbo_plugin.data.held_out import TARGET, counted, mean_loss
from hbo_plugin.messages import listed
from hbo_plugin.ranks import Ranks
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.evaluation import Evaluation
from hbo_plugin.signals.sources import Batch
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import StepShape, make_batcher
from hbo_plugin.training.branching import Branching
from hbo_plugin.training.journal import Journal
from hbo_plugin.training.measuring import Measuring
from hbo_plugin.training.moments import Moments
from hbo_plugin.training.overfitting import Overfitting
from hbo_plugin.training.rank_check import RankCheck
from hbo_plugin.training.warnings import warn_of_no_losses, warn_of_rare_updates

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data.load import RunData
    from hbo_plugin.history import Stop
    from hbo_plugin.methods import Method
    from hbo_plugin.signals.sources import Choice, SignalSource
    from hbo_plugin.training.batchers import Batcher

LOG = logging.getLogger(__name__)


class Run:
    """Conducts a run: hands out its rows, lets its sources look at them, and updates the weights when it is time."""

    def __init__(
        self, trainer: Any, data: RunData, config: HBOConfig, choice: Choice, method: Method, seed: int
    ) -> None:
        """Build the parts of a run for a Trainer that was just made.

        Args:
            trainer: of Axolotl; its `max_steps` is the length of the run.
            data: what the trainer trains on.
            config: the `hbo:` block.
            choice: which source measures which signal.
            method: new; the run moves it.
            seed: of the stream and of what measures.
        """
        args, cells = trainer.args, data.cells
        self.data, self.config, self.choice = data, config, choice
        self.ranks, self.clock = Ranks.of(trainer), Clock()
        self.shape = StepShape.of(args, self.ranks.size)
        self.balancer = Balancer(
            cells,
            config,
            method,
            seed=seed,
            steps=self.shape.steps,
            capacity=self.shape.capacity,
            window=self.shape.window,
            watched=data.watched,
        )
        self.moments = Moments.of(config, method, self.shape.steps)
        self._branching: Branching | None = None
        if plan := self.moments.branches:
            self._branching = Branching(trainer, self.balancer, self.shape, plan.steps, lambda: self._active.head)
        self.overfitting = Overfitting({name: data.steering.sets[data.tied[name]] for name in data.watched})
        # As many rows as probes would take: to look at more costs time, and shows little more.
        seen = config.update_every * self.shape.rows // (config.forward_rows * cells.sizes.size)
        self.context = Context(
            trainer,
            cells,
            self.ranks,
            self.clock,
            choice.passes,
            seed=seed,
            gradient_rows=config.gradient_rows,
            forward_rows=config.forward_rows,
            copy_steps=config.copy_steps,
            shares=lambda: self.balancer.row_shares,
            observed_every=min(max(1, seen), config.update_every),
            steering=data.steering,
            target=data.target,
            tied=data.tied,
            counted=counted(data.tied, data.target),
            branches=self._branching,
            **config.twin,
        )
        self.sources = choice.build(self.context)
        self._measuring = Measuring(self.sources, self.overfitting, stop_on_nan=config.stop_on_nan)
        self.evaluation = Evaluation(self.context, data.judging, args.eval_batch_size)
        self.journal = Journal(
            Path(args.output_dir),
            self.balancer,
            self.shape,
            self.clock,
            data.metric_names,
            data.target,
            data.entries,
            data.origins,
            writes=args.should_save,
            log_levels=config.log_levels,
        )
        self.done: dict[str, Any] | None = None  # where the stream stood after the steps that were made
        self._batcher: Batcher | None = None
        self._check = RankCheck(self.ranks)
        self._begun, self._first_step, self._step = False, 1, 0
        self._batch = 0  # micro-batches that this rank had of its step

    def new_batcher(self) -> Batcher:
        """A batcher for a training DataLoader."""
        if self._apart is not None:
            return self._apart  # type: ignore[no-any-return]
        batcher = make_batcher(self.shape, self.balancer, self.data.cells, self.clock, self.done)
        # Callbacks may build more loaders during the training; the one that is trained on is built before it begins.
        if not self._begun:
            self._batcher = batcher
        return batcher

    def begin(self, step: int) -> None:
        """The training begins: afresh at step 0, or at the step of the checkpoint that was loaded."""
        self._begun, self._step, self._first_step = True, step, step + 1
        self.journal.begin(step)
        self._measuring.begin()
        if self.balancer.changed:
            LOG.warning("hbo: new values of %s act from step %d on.", listed(self.balancer.changed), step)
        if self.balancer.advance(step) or self.balancer.changed:
            self._reweigh(step)
        if self.choice.adapts or self.data.watched:
            warn_of_rare_updates(self.moments, self.shape.steps)
        with self.clock("signals"):
            for source in self.sources.values():
                source.begin(step)

    def _reweigh(self, step: int, stopped: Mapping[str, Stop] | None = None) -> None:
        """Let weights that the method did not change take force."""
        before, head = (self.balancer.weights(), self.balancer.capped), self._active.head
        self.balancer.reweigh(head)
        self.journal.change(step, head, before, stopped or {})

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Let the sources watch a micro-batch while open, through its forward and its backward pass."""
        with ExitStack() as stack:
            for source in self._observing:
                stack.enter_context(source.watching())
            yield

    @property
    def _apart(self) -> Any:
        """What a branch trains on while one is open; else None."""
        return self._branching.sampler if self._branching else None

    @property
    def _observing(self) -> list[SignalSource]:
        sources = self.sources.values() if self._apart is None else ()
        return [source for source in sources if source.observes(self._step + 1)]

    def next_batch(self) -> list[list[int]] | None:
        """The rows in each sequence of this rank's next micro-batch; None where no source wants to look at it."""
        if self._apart is not None:
            return None
        batch = self._batch * self.ranks.size + self.ranks.rank
        self._batch += 1
        return self._active.rows_of(batch) if self._observing else None

    def observe(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], rows: list[list[int]]) -> None:
        """Let the sources look at a micro-batch that was just run forward; see `Batch`."""
        with self.clock("signals"):
            batch = Batch(inputs, outputs, rows)
            for source in self._observing:
                source.observe(batch)

    @property
    def _active(self) -> Batcher:
        if self._batcher is None:
            msg = "a step was made on rows that hbo did not draw: another plugin replaced the training DataLoader; remove it."
            raise RuntimeError(msg)
        return self._batcher

    def after_step(self, step: int, *, last: bool) -> None:
        """Count the rows of an optimizer step that was just made, and update the weights when it is time."""
        with self.clock("signals"):
            for source in self._observing:
                source.gather()
        self._batch, self._step = 0, step
        with self.clock("sampling"):
            rows = self._active.finish_step()
            self.done = self._active.done
            self.balancer.count(rows)
            self._check.count(rows)
        with self.clock("logging"):
            self.journal.rows(step, rows)
        if step == self.balancer.holds_until and not last and self.balancer.advance(step):
            self._reweigh(step)
        due = step % self.config.update_every == 0
        if step in self.moments and not last and self.choice.adapts:
            self._update(step, self._active.head)
        elif due and not last and self.overfitting.watches:
            with self.clock("signals"):
                stopped = self._measuring.watch(step)
            if stopped:
                self.balancer.stop(stopped)
                self._reweigh(step, stopped)
        if due or step == self._first_step:
            with self.clock("update"):
                self._check.compare(step, self.balancer.weights(), self._active.head)

    def _update(self, step: int, head: int) -> None:
        with self.clock("signals"):
            signals = self._measuring.measure(step)
        before = self.balancer.weights(), self.balancer.capped
        with self.clock("update"):
            stopped = self._measuring.stopped(step)
            self.balancer.stop(stopped)
            self.balancer.advance(step)
            self.balancer.update(signals, head)
        with self.clock("logging"):
            self.journal.update(step, head, signals, before, stopped)

    def scalars(self) -> dict[str, float]:
        """What goes to the loggers with a training loss."""
        losses = {name: loss for source in self.sources.values() for name, loss in source.take_losses().items()}
        return self.journal.scalars() | {f"hbo/loss/{self.data.metric_names[name]}": losses[name] for name in losses}

    def end(self, step: int) -> None:
        """The training ended at this step."""
        self.journal.end(step)

    def held_out_losses(self, step: int) -> dict[str, float]:
        """Mean loss per token of each held-out set after an evaluation, in nats, and that of the target.

        They are named as metrics are, while the trace has the names of the sets.
        """
        losses = self.evaluation.losses()
        if losses is None:
            warn_of_no_losses()
            return {}
        target = mean_loss(losses, self.data.target)
        self.journal.evaluate(step, losses, self.data.tied, target)
        return {**{self.data.metric_names[name]: loss for name, loss in losses.items()}, TARGET: target}
