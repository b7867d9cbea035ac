"""An Axolotl plugin for tests: several ranks on a machine without a GPU."""

import os
from typing import Any

from axolotl.integrations.base import BasePlugin


class CPURanksPlugin(BasePlugin):
    """`plugins: [cpu_ranks.CPURanksPlugin]`."""

    def register(self, cfg: Any) -> None:
        import axolotl.utils.trainer

        # With a CUDA build of torch and no driver, the check itself raises.
        axolotl.utils.trainer.check_cuda_p2p_ib_support = lambda: True
        # Without it, each rank would train alone on the same rows.
        os.environ["ACCELERATE_USE_CPU"] = "true"
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            cfg["max_memory"] = {"cpu": "64GiB"}

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        return {"use_cpu": True}
