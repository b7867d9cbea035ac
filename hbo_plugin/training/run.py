"""One training run: what happens before the first step, in each step and after it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbo_plugin.clock import Clock
from hbo_plugin.data.held_out import counted
from hbo_plugin.devices import settle
from hbo_plugin.messages import listed
from hbo_plugin.ranks import Ranks
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.evaluation import Evaluation
from hbo_plugin.signals.held_out import held_out_losses
from hbo_plugin.training.about import about
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import make_batcher
from hbo_plugin.training.branching import Branching
from hbo_plugin.training.journal import Journal
from hbo_plugin.training.measuring import Measuring
from hbo_plugin.training.moments import Moments
from hbo_plugin.training.overfitting import Overfitting
from hbo_plugin.training.rank_check import RankCheck
from hbo_plugin.training.step_shape import StepShape
from hbo_plugin.training.warnings import warn_of_no_losses, warn_of_rare_updates
from hbo_plugin.training.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hbo_plugin.args import HBOConfig
    from hbo_plugin.data.load import RunData
    from hbo_plugin.history import Stop
    from hbo_plugin.methods import Method
    from hbo_plugin.row_weights.base import RowWeights
    from hbo_plugin.signals.choice import Choice
    from hbo_plugin.training.batchers import Batcher

LOG = logging.getLogger(__name__)


class Run:
    """Conducts a run: hands out its rows, lets them be watched, and updates the weights when it is time."""

    def __init__(
        self,
        trainer: Any,
        data: RunData,
        config: HBOConfig,
        choice: Choice,
        method: Method,
        row_weights: RowWeights | None,
        seed: int,
    ) -> None:
        """Build the parts of a run for a Trainer that was just made.

        Args:
            trainer: of Axolotl; its `max_steps` is the length of the run.
            data: what the trainer trains on.
            config: the `hbo:` block.
            choice: which source measures which signal.
            method: new; the run moves it.
            row_weights: new; None where all rows count alike.
            seed: of the stream and of what measures.
        """
        args, cells = trainer.args, data.cells
        self.data, self.config, self.choice = data, config, choice
        self.ranks, self.clock = Ranks.of(trainer), Clock(settle)
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
        step = self.shape.capacity / (1 if self.shape.bins is None else cells.lengths.mean())
        seen = int(config.update_every * step / (config.forward_rows * cells.sizes.size))
        self.context = Context(
            trainer,
            cells,
            self.ranks,
            self.clock,
            choice.passes,
            choice.logits,
            data.kind,
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
        self.watching = Watching(
            self.context,
            self.sources.values(),
            row_weights,
            self._branching,
            lambda: self._active.batches(),  # noqa: PLW0108 there is no batcher yet
            layers_seen=choice.layers,
        )
        self._measuring = Measuring(self.sources, self.overfitting, stop_on_nan=config.stop_on_nan)
        self.evaluation = Evaluation(self.context, data.judging, args.eval_batch_size)
        self._folder, self._writes = Path(args.output_dir), args.should_save
        self.journal = Journal(
            self._folder,
            self.balancer,
            self.shape,
            self.clock,
            data,
            writes=self._writes,
            log_levels=config.log_levels,
            record_rows=config.record_rows,
        )
        self.done: dict[str, Any] | None = None  # where the stream stood after the steps that were made
        self._batcher: Batcher | None = None
        self._check = RankCheck(self.ranks, cells.fingerprints)
        self._begun, self._first_step = False, 1

    def new_batcher(self) -> Batcher:
        """A batcher for a training DataLoader."""
        if self._branching and self._branching.sampler is not None:
            return self._branching.sampler  # type: ignore[no-any-return]
        batcher = make_batcher(self.shape, self.balancer, self.data.cells, self.clock, self.done)
        # Callbacks may build more loaders during the training; the one that is trained on is built before it begins.
        if not self._begun:
            self._batcher = batcher
        return batcher

    def begin(self, step: int) -> None:
        """The training begins: afresh at step 0, or at the step of the checkpoint that was loaded."""
        self._begun, self._first_step = True, step + 1
        told = about(self.balancer, self.config, self.data, steps=self.shape.steps, notes=self.notes)
        self.journal.begin(step, told)
        self._measuring.begin()
        if self.balancer.changed:
            LOG.warning("hbo: new values of %s act from step %d on.", listed(self.balancer.changed), step)
        if self.balancer.advance(step) or self.balancer.changed:
            self._reweigh(step, record={"config": self.config.effective()})
        if self.choice.adapts or self.data.watched:
            warn_of_rare_updates(self.moments, self.shape.steps)
        with self.clock("signals", settled=True):
            self.watching.begin(step)

    def _reweigh(
        self, step: int, stopped: Mapping[str, Stop] | None = None, record: Mapping[str, Any] | None = None
    ) -> None:
        """Let weights that the method did not change take force; `record` is what the trace says beside them."""
        before, head = (self.balancer.weights(), self.balancer.capped), self._active.head
        self.balancer.reweigh(head)
        self.journal.change(step, head, before, stopped or {}, record or {})

    @property
    def _active(self) -> Batcher:
        if self._batcher is None:
            msg = "a step was made on rows that hbo did not draw: another plugin replaced the training DataLoader; remove it."
            raise RuntimeError(msg)
        return self._batcher

    def after_step(self, step: int, *, last: bool) -> None:
        """Count the rows of an optimizer step that was just made, and update the weights when it is time."""
        self.watching.end_step()
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
        if self.watching.weighing and (due or last):
            self.journal.weighed(step, self.watching.weighing.tally.take())
        if step in self.moments and not last and self.choice.adapts:
            self._update(step, self._active.head)
        elif due and not last and self.overfitting.watches:
            with self.clock("signals", settled=True):
                stopped = self._measuring.watch(step)
            if stopped:
                self.balancer.stop(stopped)
                self._reweigh(step, stopped)
        if due or step == self._first_step:
            with self.clock("update", settled=True):
                self._check.compare(step, self.balancer.weights(), self._active.head)

    def _update(self, step: int, head: int) -> None:
        with self.clock("signals", settled=True):
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
        return self.journal.scalars(source.take_means() for source in self.sources.values())

    @property
    def notes(self) -> list[str]:
        """What the user should know, a sentence each."""
        weighing = self.watching.weighing
        return [
            *self.data.notes,
            *self.choice.notes,
            *([weighing.measured] if weighing and weighing.measured else []),
            *self.config.notes_on_cap(self.balancer.average_epochs),
            *(stop.told(dataset) for dataset, stop in self.overfitting.stopped.items()),
        ]

    def end(self, step: int) -> None:
        """The training ended at this step."""
        if self.watching.weighing and self._writes:
            self.watching.weighing.save(self._folder)
        self.journal.end(step)

    def held_out_losses(self, step: int, losses: Mapping[str, float] | None = None) -> dict[str, float]:
        """The loss of each held-out set after an evaluation, and that of the target.

        They are named as metrics are, while the trace has the names of the sets. Where the Trainer did not evaluate them one
        by one, they are mean losses per token, in nats.
        """
        losses = self.evaluation.losses() if losses is None else losses
        if losses is None:
            warn_of_no_losses()
            return {}
        steering = held_out_losses(self.context, self.data.steering) if self.config.record_steering else {}
        return self.journal.evaluate(step, losses, steering, training=self._begun)
