"""hbo: an Axolotl plugin that balances a fine-tuning mixture while the model trains."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hbo_plugin._sampler import MixtureSampler, __version__
    from hbo_plugin.packing import PackedBatchSampler
    from hbo_plugin.plugin import HBOPlugin
    from hbo_plugin.report.rows import drawn_rows
    from hbo_plugin.row_sampler import RowSampler

__all__ = ["HBOPlugin", "MixtureSampler", "PackedBatchSampler", "RowSampler", "__version__", "drawn_rows"]

_HOMES = {
    "HBOPlugin": "hbo_plugin.plugin",
    "MixtureSampler": "hbo_plugin._sampler",
    "PackedBatchSampler": "hbo_plugin.packing",
    "RowSampler": "hbo_plugin.row_sampler",
    "__version__": "hbo_plugin._sampler",
    "drawn_rows": "hbo_plugin.report.rows",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that the sampler works without Axolotl, and so that a missing extension is reported by the plugin itself:
    # an ImportError at this point is swallowed by Axolotl 0.19, which then trains without HBO.
    if name not in _HOMES:
        msg = f"module `hbo_plugin` has no attribute `{name}`"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
