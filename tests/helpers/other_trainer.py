"""An Axolotl plugin for tests: it brings a trainer class of its own, as other plugins do."""

from typing import Any

from axolotl.integrations.base import BasePlugin


class OtherTrainerPlugin(BasePlugin):
    """`plugins: [other_trainer.OtherTrainerPlugin]`."""

    def get_trainer_cls(self, cfg: Any) -> type:
        from axolotl.core.trainers import AxolotlTrainer

        class OtherTrainer(AxolotlTrainer):
            def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
                super().log({**logs, "other": 1.0} if "loss" in logs else logs, *args, **kwargs)

        return OtherTrainer
