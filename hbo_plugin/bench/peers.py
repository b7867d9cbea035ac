"""Who takes part: the sampler in its two modes, and its peers."""

from hbo_plugin.bench.contender import Contender
from hbo_plugin.bench.numpy_peers import NumPyCounts, NumPyLookUp, NumPyTwoStep, NumPyWithoutReplacement, Published
from hbo_plugin.bench.ours import WithoutReplacement, WithReplacement
from hbo_plugin.bench.torch_peers import (
    Interleave,
    TorchData,
    TorchMultinomial,
    TorchTwoStep,
    TorchWeightedRandomSampler,
)

CONTENDERS: tuple[type[Contender], ...] = (
    WithoutReplacement,
    WithReplacement,
    NumPyTwoStep,
    NumPyLookUp,
    NumPyCounts,
    NumPyWithoutReplacement,
    TorchTwoStep,
    TorchMultinomial,
    TorchWeightedRandomSampler,
    TorchData,
    Interleave,
    Published,
)
