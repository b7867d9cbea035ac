# The types of the compiled stream and packing. Their documentation is in the module itself: `help(MixtureSampler)`.

from collections.abc import Sequence
from typing import Any, Final, SupportsIndex, final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

__all__ = ["MixtureSampler", "Packer", "__version__", "build_profile"]

__version__: Final[str]
build_profile: Final[str]  # "release" or "debug"

@final
class MixtureSampler:
    def __new__(
        cls,
        cell_sizes: Sequence[int] | NDArray[np.integer[Any]],
        weights: ArrayLike,
        *,
        seed: SupportsIndex,
        replacement: bool = False,
    ) -> Self: ...
    def fill(self, position: SupportsIndex, count: SupportsIndex) -> NDArray[np.int64]: ...
    def reweight(self, position: SupportsIndex, weights: ArrayLike) -> None: ...
    def weights(self, position: SupportsIndex) -> NDArray[np.float64]: ...
    def counts(self, position: SupportsIndex, count: SupportsIndex) -> NDArray[np.int64]: ...
    def state_dict(self) -> dict[str, Any]: ...
    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self: ...
    @property
    def cell_sizes(self) -> NDArray[np.int64]: ...
    @property
    def seed(self) -> int: ...
    @property
    def replacement(self) -> bool: ...

@final
class Packer:
    def __new__(
        cls,
        mixture: MixtureSampler,
        lengths: NDArray[np.int32],
        *,
        capacity: SupportsIndex,
        bins_per_batch: SupportsIndex,
        window: SupportsIndex,
    ) -> Self: ...
    def batch(self, mixture: MixtureSampler) -> list[list[int]]: ...
    def seek(self, state: dict[str, Any]) -> None: ...
    @property
    def head(self) -> int: ...
    @property
    def waiting(self) -> list[int]: ...
