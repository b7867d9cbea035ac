"""The trainer mixin: hands over the stream, logs, saves and restores. The training loop stays Axolotl's."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import SequentialSampler

from hbo_plugin import compat
from hbo_plugin.data.dropped import refuse_dropped
from hbo_plugin.data.held_out import TARGET
from hbo_plugin.training import checkpoint
from hbo_plugin.training.run import Run

if TYPE_CHECKING:
    from transformers import Trainer

    from hbo_plugin.data.load import RunData
else:
    Trainer = object


def attach(trainer: Any, run: Run) -> None:
    """Give a trainer that Axolotl has built, of whatever class, the methods of `HBOTrainerMixin`.

    A class handed to Axolotl beforehand would compete with those of other plugins, and is not built right for every
    kind of training.

    Raises:
        ValueError: the trainer has dropped rows, so that all behind them would be taken for others.
    """
    refuse_dropped(run.data, trainer.train_dataset)
    base = type(trainer)
    mixin = HBOTrainerMixin
    if run.data.kind.generates:
        compat.private("trl", "GRPOTrainer._calculate_rewards")
        mixin = GeneratingTrainerMixin
    trainer.__class__ = type(f"HBO{base.__name__}", (mixin, base), {})
    trainer.hbo = run


def replace_data(trainer: Any, data: "RunData") -> None:
    """Let a trainer that was built on Axolotl's split of the data evaluate hbo's in its place."""
    trainer.hbo_stand_ins = {id(trainer.train_dataset): data.train, id(trainer.eval_dataset): data.judging.rows}
    trainer.train_dataset, trainer.eval_dataset = data.train, data.judging.rows


class HBOTrainerMixin(Trainer):
    """What changes in Axolotl's trainer."""

    hbo: Run
    hbo_stand_ins: Mapping[int, Any] = MappingProxyType({})
    """hbo's data by the identity of Axolotl's, see `replace_data`."""
    _evaluates_own = False
    """Whether the Trainer is evaluating the run's own held-out rows."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.hbo.new_batcher()

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """Take the micro-batches of a step from the loader, which may have to be waited for."""
        with self.hbo.clock("loading"):
            return super().get_batch_samples(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a micro-batch forward and backward; hbo watches."""
        with self.hbo.watching.micro_batch():
            return super().training_step(*args, **kwargs)

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 the Trainer's signature
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the loss; hbo looks at what a training batch predicts."""
        rows = self.hbo.watching.rows() if model.training else None
        evaluates = self._evaluates_own and not model.training
        if rows is None and not evaluates:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        given = dict(inputs)  # the Trainer may take the labels out
        with nullcontext() if rows is None else self.hbo.watching.forward(given, rows):
            loss, outputs = super().compute_loss(
                model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
        if rows is None:
            self.hbo.evaluation.observe(given, outputs)
        else:
            self.hbo.watching.observe(given, outputs, rows)
        return (loss, outputs) if return_outputs else loss

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; hbo's state is loaded before the Trainer loads anything, so that a damaged checkpoint is refused."""
        if resume_from_checkpoint:
            checkpoint.load(self.hbo, Path(str(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add hbo's scalars to the line that carries the training loss."""
        if "loss" in logs:
            with self.hbo.clock("logging"):
                logs = {**logs, **self.hbo.scalars()}
        super().log(logs, *args, **kwargs)

    def _get_eval_sampler(self, eval_dataset: Any = None) -> Any:
        sampler = super()._get_eval_sampler(eval_dataset)
        if not self._evaluates_own:
            return sampler
        # Without one, the loader goes through the rows in their order.
        return self.hbo.evaluation.watch(SequentialSampler(eval_dataset) if sampler is None else sampler)

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate; the metrics have the loss of each held-out set as `eval_<set>_loss`, and that of the target."""
        eval_dataset = self.hbo_stand_ins.get(id(eval_dataset), eval_dataset)
        data = self.hbo.data
        own = bool(data.judging.sets) and (eval_dataset is None or eval_dataset is data.judging.rows)
        self._evaluates_own = own and data.kind.supervised
        try:
            metrics: dict[str, float] = super().evaluate(eval_dataset, *args, **kwargs)
        finally:
            self._evaluates_own = False
        if own and not data.kind.supervised:  # the Trainer has evaluated set by set
            metrics.update(self._judge(metrics, kwargs.get("metric_key_prefix", "eval")))
        return metrics

    def _judge(self, metrics: dict[str, float], prefix: str) -> dict[str, float]:
        """The loss of the target, from that of each held-out set, as metrics name it; it is logged and in the trace."""
        names = self.hbo.data.metric_names
        losses = {name: metrics[f"{prefix}_{names[name]}_loss"] for name in self.hbo.data.judging.sets}
        found = {f"{prefix}_{TARGET}_loss": self.hbo.held_out_losses(self.state.global_step, losses)[TARGET]}
        self.log(found)
        return found

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate; the losses of the held-out sets are there before callbacks and loggers see the metrics."""
        if self._evaluates_own:
            self.hbo.evaluation.begin()
        output: Any = super().evaluation_loop(*args, **kwargs)
        if self._evaluates_own:
            prefix = kwargs.get("metric_key_prefix", "eval")
            losses = self.hbo.held_out_losses(self.state.global_step)
            output.metrics.update({f"{prefix}_{name}_loss": loss for name, loss in losses.items()})
        return output

    def _save_checkpoint(self, model: Any, trial: Any, **kwargs: Any) -> Any:
        # Before Axolotl's own, which ends with the push to the hub and the rotation of checkpoints.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            checkpoint.save(self.hbo, folder)
        return super()._save_checkpoint(model, trial, **kwargs)


class GeneratingTrainerMixin(HBOTrainerMixin):
    """What changes in a trainer that generates answers and rewards them."""

    model: Any
    reward_weights: Any
    _judged: list[NDArray[np.float64]]
    """Rewards of the evaluation that runs."""

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        # Of all ranks, float[answers, reward functions].
        rewards = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]  # TRL's own
        weighted = rewards * self.reward_weights.to(rewards.device)
        found = weighted.nansum(dim=1).masked_fill(weighted.isnan().all(dim=1), float("nan"))
        found = found.double().cpu().numpy()
        if self.model.training:
            self.hbo.watching.rewarded(found)
        else:
            self._judged.append(found)
        return rewards

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate a held-out set; its mean reward is there beside its loss, which says nothing of answers that change."""
        self._judged = []
        output = super().evaluation_loop(*args, **kwargs)
        mean = float(np.nanmean(np.concatenate(self._judged)))
        output.metrics[f"{kwargs.get('metric_key_prefix', 'eval')}_reward"] = mean
        return output

    def _judge(self, metrics: dict[str, float], prefix: str) -> dict[str, float]:
        """The mean reward of all held-out sets; it is logged, and no loss, so that it stands in no trace."""
        names = self.hbo.data.metric_names
        rewards = [metrics[f"{prefix}_{names[name]}_reward"] for name in self.hbo.data.judging.sets]
        found = {f"{prefix}_{TARGET}_reward": float(np.mean(rewards))}
        self.log(found)
        return found
