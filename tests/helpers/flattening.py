"""An Axolotl plugin for tests: `batch_flattening` without a GPU."""

from typing import Any

from axolotl.integrations.base import BasePlugin


class FlatteningPlugin(BasePlugin):
    """`plugins: [flattening.FlatteningPlugin]`.

    Axolotl wants flash attention for it. That of PyTorch tells the rows of one line apart too, by their positions.
    """

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        cfg.batch_flattening = True  # checked before, and read after this hook
        return {}
