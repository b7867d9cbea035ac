"""The trainer mixin: hands over the stream, logs, saves and restores. The training loop stays Axolotl's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbo_plugin.training import checkpoint
from hbo_plugin.training.run import Run

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


def attach(trainer: Any, run: Run) -> None:
    """Give a trainer that Axolotl has built, of whatever class, the methods of `HBOTrainerMixin`.

    A class handed to Axolotl beforehand would compete with those of other plugins, and is not built right for every
    kind of training.
    """
    base = type(trainer)
    trainer.__class__ = type(f"HBO{base.__name__}", (HBOTrainerMixin, base), {})
    trainer.hbo = run


class HBOTrainerMixin(Trainer):
    """What changes in Axolotl's trainer."""

    hbo: Run

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.hbo.new_batcher()

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 the Trainer's signature
        num_items_in_batch: Any = None,
    ) -> Any:
        """Compute the loss; hbo looks at a training batch before its logits go."""
        rows = self.hbo.next_batch() if model.training else None
        if rows is None:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        given = dict(inputs)  # the Trainer may take the labels out
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self.hbo.observe(given, outputs, rows)
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
                logs = {**logs, **self.hbo.journal.scalars()}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate; then log the held-out loss of each dataset as `eval_<dataset>_loss`."""
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        if args or kwargs.get("eval_dataset") is not None:
            return metrics
        losses = {f"eval_{name}_loss": loss for name, loss in self.hbo.held_out_losses(self.state.global_step).items()}
        if losses:
            self.log(losses)
        return {**metrics, **losses}

    def _save_checkpoint(self, model: Any, trial: Any, **kwargs: Any) -> Any:
        self.hbo.gather()
        # Before Axolotl's own, which ends with the push to the hub and the rotation of checkpoints.
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            checkpoint.save(self.hbo, folder)
        return super()._save_checkpoint(model, trial, **kwargs)
