"""The sampler under test, in its two modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hbo_plugin._sampler import MixtureSampler
from hbo_plugin.bench.contender import Contender, Mixture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class WithoutReplacement(Contender):
    """Every lap of a cell visits each of its rows once: the default."""

    name = "hbo"
    ours = True
    replacement: ClassVar[bool] = False

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.sampler = MixtureSampler(mixture.sizes, mixture.sizes, seed=0, replacement=self.replacement)
        self.fill = self.sampler.fill
        self.head = 0

    def reweight(self, weights: NDArray[np.float64]) -> None:
        self.sampler.reweight(self.head, weights)

    def draw(self, count: int) -> NDArray[np.int64]:
        position = self.head
        self.head = position + count
        return self.fill(position, count)

    def draw_changing(self, weights: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
        for index, each in enumerate(weights):
            self.sampler.reweight(self.head + index * self.window, each)
        return self.draw(len(weights) * self.window)

    def live(self, weights: Sequence[NDArray[np.float64]]) -> None:
        for each in weights:
            self.reweight(each)
            self.head += self.window

    def state(self) -> dict[str, Any]:
        return {"head": self.head, "sampler": self.sampler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.head = state["head"]
        self.sampler = MixtureSampler.from_state_dict(state["sampler"])
        self.fill = self.sampler.fill

    def rows_at(self, position: int, weights: NDArray[np.float64], count: int) -> NDArray[np.int64]:
        del weights  # the sampler knows what was in force
        return self.fill(position, count)


class WithReplacement(WithoutReplacement):
    """Rows are drawn independently, as in the paper."""

    name = "hbo, with replacement"
    replacement = True
