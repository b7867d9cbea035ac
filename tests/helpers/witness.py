"""An Axolotl plugin for tests: each rank writes down what its model was trained on, and under which weights."""

import json
import os
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

PERTURBED = "HBO_TEST_PERTURBED_RANK"
"""The rank whose first update goes wrong."""


class _WitnessCallback(TrainerCallback):
    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model, weights = self._trainer.model, self._trainer.hbo.balancer.weights()
        record = {
            "step": state.global_step,
            "batches": self._trainer.seen,
            "weights": [weight.hex() for weight in weights.ravel().tolist()],
            "sharded": all(hasattr(parameter, "placements") for parameter in model.parameters()),
            "engine": type(self._trainer.model_wrapped).__name__,
        }
        self._trainer.seen = []
        with (Path(args.output_dir) / f"witness_{args.process_index}.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")


class WitnessPlugin(BasePlugin):
    """`plugins: [..., witness.WitnessPlugin]`, after hbo's own, whose callback sets the weights that this one writes."""

    def get_trainer_cls(self, cfg: Any) -> type:
        from axolotl.core.trainers import AxolotlTrainer

        class WitnessTrainer(AxolotlTrainer):
            def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
                if model.training:
                    self.seen = [*getattr(self, "seen", []), inputs["input_ids"].tolist()]
                return super().compute_loss(model, inputs, *args, **kwargs)

        return WitnessTrainer

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        if os.environ.get(PERTURBED) == str(trainer.args.process_index):
            method = trainer.hbo.balancer.method
            update = method.update
            method.update = lambda signals: update({name: values + 0.5 for name, values in signals.items()})
        return [_WitnessCallback(trainer)]
