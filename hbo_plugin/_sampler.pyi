"""The compiled stream: which row of a mixture is drawn at which position."""

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
    """The stream of a mixture: the row at a position is a pure function of seed, schedule and position.

    Any split of a range of positions over calls, threads or processes gives the same rows.

    Args:
        cell_sizes: rows of every cell, shape (cells,), whole numbers from 0 to 2^31. The rows of cell ``c`` are
            ``offset[c]`` to ``offset[c] + cell_sizes[c] - 1``, the offsets being the sums of the sizes before.
        weights: weight of every cell, shape (cells,), finite and at least 0, in force from position 0 on; they need
            not sum to 1. A cell of weight 0 is never drawn. A cell of 0 rows needs weight 0.
        seed: a whole number from 0 to 2^64 - 1.
        replacement: draw rows independently. Without, every lap of a cell visits each of its rows once, and the draws
            of a cell in any 256 positions of the same weights are its share to within 2.

    Raises:
        ValueError: a value that makes no mixture.
    """

    def __new__(
        cls,
        cell_sizes: Sequence[int] | NDArray[np.integer[Any]],
        weights: ArrayLike,
        *,
        seed: SupportsIndex,
        replacement: bool = False,
    ) -> Self: ...
    def fill(self, position: SupportsIndex, count: SupportsIndex) -> NDArray[np.int64]:
        """Return the rows at ``[position, position + count)``, shape (count,). Other Python threads run meanwhile, but for a few rows.

        Going on where the last call ended is fastest; any other position costs O(cells) first, never a replay.

        Raises:
            ValueError: positions outside ``[0, 2^53]``, or before the oldest weights that are kept.
            MemoryError: more rows than there is memory for.
        """

    def reweight(self, position: SupportsIndex, weights: ArrayLike) -> None:
        """Put weights, shape (cells,), in force from a position on.

        Given twice for one position, the last ones count. Weights that cut the line of points where those in force do
        are not recorded: the stream goes on as it was. At most ``max(64, 2^19 // cells)`` of the newest weights are
        kept; positions before can no longer be asked for, and everything after stays exact.

        Raises:
            ValueError: weights that make no mixture, or a position before the newest weights.
        """

    def weights(self, position: SupportsIndex) -> NDArray[np.float64]:
        """Return the weights in force at a position, normalised to sum to 1, shape (cells,).

        Raises:
            ValueError: a position outside ``[0, 2^53]``, or before the oldest weights that are kept.
        """

    def counts(self, position: SupportsIndex, count: SupportsIndex) -> NDArray[np.int64]:
        """Return the draws of every cell at ``[position, position + count)``, shape (cells,).

        Without replacement they are computed in closed form, with replacement by drawing.

        Raises:
            ValueError: as `fill`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what the stream depends on from its newest weights on, as JSON-safe numbers and lists.

        These are the seed, the sizes, the newest 64 weights (fewer where the cells are more than 1,024, but two), and how
        many rows each cell had given before the oldest of them: nothing that grows with the length of a run.
        """

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Self:
        """Return a sampler whose stream goes on as that of the sampler which the state is from, in O(cells).

        Positions before the oldest weights of the state can no longer be asked for.

        Raises:
            ValueError: a state that no sampler has.
        """

    @property
    def cell_sizes(self) -> NDArray[np.int64]:
        """Rows of every cell, shape (cells,)."""

    @property
    def seed(self) -> int:
        """The seed."""

    @property
    def replacement(self) -> bool:
        """Whether rows are drawn independently."""

@final
class Packer:
    """What packs a stream, without epochs: see `hbo_plugin.PackedBatchSampler`."""

    def __new__(
        cls,
        mixture: MixtureSampler,
        lengths: NDArray[np.int32],
        *,
        capacity: SupportsIndex,
        bins_per_batch: SupportsIndex,
        window: SupportsIndex,
    ) -> Self: ...
    def batch(self, mixture: MixtureSampler) -> list[list[int]]:
        """Return the rows of every bin of the next batch. Other Python threads run meanwhile.

        Raises:
            ValueError: as `MixtureSampler.fill`, or lengths that were changed; the packer stays where it was.
        """

    def seek(self, state: dict[str, Any]) -> None:
        """Go to the ``head`` and the rows ``waiting`` of a state.

        Raises:
            ValueError: a place where no packer with this window and these lengths can be.
        """

    @property
    def head(self) -> int:
        """Position of the next draw."""

    @property
    def waiting(self) -> list[int]:
        """Rows that were drawn and are in no bin yet, oldest first."""
