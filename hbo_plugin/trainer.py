"""The trainer mixin: hands over the stream, logs, saves and restores. The training loop stays Axolotl's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hbo_plugin.training.run import Run

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object


class HBOTrainerMixin(Trainer):
    """What changes in Axolotl's trainer; inert until a `Run` is attached."""

    hbo: Run | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.hbo is None:
            return super()._get_train_sampler(train_dataset)
        return self.hbo.new_sampler()

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 the Trainer's signature
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss, as ever; hbo looks at the logits of a training batch before they go."""
        lines = self.hbo.next_batch() if self.hbo is not None and model.training else None
        if self.hbo is None or lines is None:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        labels = inputs["labels"]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self.hbo.observe(outputs.get("logits"), labels, lines)
        return (loss, outputs) if return_outputs else loss

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train as ever; hbo takes up its state before the Trainer loads anything, and refuses a checkpoint that is not whole."""
        if self.hbo is not None and resume_from_checkpoint:
            self.hbo.load(Path(str(resume_from_checkpoint)))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add hbo's scalars to the line that carries the training loss."""
        if self.hbo is not None and "loss" in logs:
            logs = {**logs, **self.hbo.scalars()}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as ever; then log the held-out loss of each dataset as `eval_<dataset>_loss`."""
        metrics: dict[str, float] = super().evaluate(*args, **kwargs)
        if self.hbo is None or args or kwargs.get("eval_dataset") is not None:
            return metrics
        losses = {f"eval_{name}_loss": loss for name, loss in self.hbo.held_out_losses(self.state.global_step).items()}
        if losses:
            self.log(losses)
        return {**metrics, **losses}

    def _save_checkpoint(self, model: Any, trial: Any, **kwargs: Any) -> Any:
        if self.hbo is not None:
            self.hbo.settle()
        # Before Axolotl's own, which ends with the push to the hub and the rotation of checkpoints.
        if self.hbo is not None and self.args.should_save:
            self.hbo.save(Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}")
        return super()._save_checkpoint(model, trial, **kwargs)
