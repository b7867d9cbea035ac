"""An Axolotl plugin for tests: several ranks on a machine without a GPU."""

import gc
import os
from typing import Any

from axolotl.integrations.base import BasePlugin


class CPURanksPlugin(BasePlugin):
    """`plugins: [cpu_ranks.CPURanksPlugin]`."""

    def register(self, cfg: Any) -> None:
        import axolotl.utils.trainer

        gc.freeze()  # see conftest.py
        # With a CUDA build of torch and no driver, the check itself raises.
        axolotl.utils.trainer.check_cuda_p2p_ib_support = lambda: True
        # Without it, each rank would train alone on the same rows.
        os.environ["ACCELERATE_USE_CPU"] = "true"
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            cfg["max_memory"] = {"cpu": "64GiB"}
        if cfg.get("fsdp_config"):
            _shard_on_cpu()
        if cfg.get("tensor_parallel_size"):
            _split_on_cpu()
        if cfg.get("deepspeed"):
            _zero_on_cpu()

    def get_training_args(self, cfg: Any) -> dict[str, Any]:
        return {"use_cpu": True}


def _shard_on_cpu() -> None:
    """Torch shards a model on CPU, but accelerate does it for GPUs only, and Axolotl asks for a mesh of them."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType
    from torch.distributed import device_mesh

    begin, make = AcceleratorState.__init__, device_mesh.init_device_mesh

    def sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = sharded
    device_mesh.init_device_mesh = lambda _, *args, **kwargs: make("cpu", *args, **kwargs)


def _split_on_cpu() -> None:
    """Tensor parallelism runs on CPU, but accelerate counts GPUs alone as many devices."""
    from accelerate import Accelerator
    from torch.distributed import device_mesh

    make = device_mesh.init_device_mesh
    Accelerator.multi_device = property(lambda self: self.use_distributed)
    device_mesh.init_device_mesh = lambda _, *args, **kwargs: make("cpu", *args, **kwargs)


def _zero_on_cpu() -> None:
    """DeepSpeed runs on CPU, but accelerate takes DDP there."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    begin = AcceleratorState.__init__

    def sharded(self: Any, *args: Any, deepspeed_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, deepspeed_plugin=deepspeed_plugin, **kwargs)
        if deepspeed_plugin is not None:
            self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
            plugins = deepspeed_plugin if isinstance(deepspeed_plugin, dict) else {"default": deepspeed_plugin}
            for plugin in plugins.values():
                plugin.set_mixed_precision("no")
            next(iter(plugins.values())).select(_from_accelerator_state=True)
            self.deepspeed_plugins = plugins

    AcceleratorState.__init__ = sharded
