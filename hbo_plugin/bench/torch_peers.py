"""Peers from torch, torchdata and datasets, each imported when it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.bench.contender import Contender, Mixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class TorchTwoStep(Contender):
    """A cell by `torch.multinomial`, and a row in it."""

    name = "torch two-step"

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.generator = torch.Generator().manual_seed(0)
        self.sizes = torch.tensor(mixture.sizes, dtype=torch.float64)
        self.offsets = torch.tensor(mixture.offsets)

    @classmethod
    def form(cls, mixture: Mixture, weights: NDArray[np.float64]) -> Any:
        import torch

        del mixture
        return torch.tensor(weights)

    def reweight(self, weights: Any) -> None:
        self.weights = weights

    def draw(self, count: int) -> Any:
        cell = self.torch.multinomial(self.weights, count, replacement=True, generator=self.generator)
        point = self.torch.rand(count, dtype=self.torch.float64, generator=self.generator)
        return self.offsets[cell] + point.mul_(self.sizes[cell]).long()

    def state(self) -> Any:
        return self.generator.get_state(), self.weights

    def restore(self, state: Any) -> None:
        generator, weights = state
        self.generator.set_state(generator)
        self.reweight(weights)


class TorchMultinomial(TorchTwoStep):
    """One weight a row. Torch takes 2^24 at most."""

    name = "torch.multinomial"
    bytes_per_row = 17

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        self.rows = self.torch.zeros(mixture.rows, dtype=self.torch.float64)
        self.cells = self.rows.split(mixture.sizes.tolist())
        self.ahead: Iterator[Any] = iter(())

    def reweight(self, weights: Any) -> None:
        self.weights = weights
        for cell, weight in zip(self.cells, (weights / self.sizes).tolist(), strict=True):
            cell.fill_(weight)
        self.ahead = iter(())

    def draw(self, count: int) -> Any:
        # Each call costs O(rows), so that all rows of a window are drawn in one.
        batch = next(self.ahead, None)
        if batch is None:
            self.ahead = self._ahead(count)
            batch = next(self.ahead)
        return batch

    def _ahead(self, count: int) -> Iterator[Any]:
        drawn = self.torch.multinomial(self.rows, max(count, self.window), replacement=True, generator=self.generator)
        return iter(drawn.split(count))


class TorchWeightedRandomSampler(TorchMultinomial):
    """The class that torch's users know, in a BatchSampler."""

    name = "torch WeightedRandomSampler"

    def _ahead(self, count: int) -> Iterator[Any]:
        from torch.utils.data import BatchSampler, WeightedRandomSampler

        # Given as a tensor, the weights are not copied.
        sampler = WeightedRandomSampler(self.rows, max(count, self.window), generator=self.generator)
        return iter(BatchSampler(sampler, count, drop_last=False))


class TorchData(Contender):
    """A node for every cell, which draws its rows with replacement: the one way that costs no O(rows) at a reset."""

    name = "torchdata MultiNodeWeightedSampler"

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        import torch
        from torch.utils.data import RandomSampler
        from torchdata.nodes import MultiNodeWeightedSampler, SamplerWrapper, StopCriteria

        torch.set_num_threads(1)
        endless = 2**62
        cells = zip(mixture.offsets.tolist(), mixture.sizes.tolist(), strict=True)
        self.node = MultiNodeWeightedSampler(
            {
                str(cell): SamplerWrapper(
                    _Shifted(RandomSampler(range(size), replacement=True, num_samples=endless), offset)
                )
                for cell, (offset, size) in enumerate(cells)
            },
            self.form(mixture, np.full(mixture.cells, 1 / mixture.cells)),
            stop_criteria=StopCriteria.CYCLE_FOREVER,
        )

    @classmethod
    def form(cls, mixture: Mixture, weights: NDArray[np.float64]) -> Any:
        del mixture
        return {str(cell): weight for cell, weight in enumerate(weights.tolist())}

    def reweight(self, weights: Any) -> None:
        self.node.weights = weights
        self.node.reset()  # until then the node draws by the old ones

    def draw(self, count: int) -> list[int]:
        return [next(self.node) for _ in range(count)]


class _Shifted:
    """The rows of a cell, from the numbers that a sampler gives."""

    def __init__(self, sampler: Any, offset: int) -> None:
        self.sampler, self.offset = sampler, offset

    def __iter__(self) -> Iterator[int]:
        return (self.offset + row for row in self.sampler)


class Interleave(Contender):
    """A dataset for every cell. New weights make a new mixture, which begins at the first row of each again."""

    name = "datasets interleave_datasets"
    bytes_per_row = 34

    def __init__(self, mixture: Mixture, window: int) -> None:
        super().__init__(mixture, window)
        from datasets import Dataset, logging

        logging.set_verbosity_error()  # it warns at length of indices that took too long to be hashed
        rows = np.split(np.arange(mixture.rows), mixture.offsets[1:])
        self.cells = [Dataset.from_dict({"row": part}).with_format("numpy") for part in rows]
        self.seed = 0

    @classmethod
    def form(cls, mixture: Mixture, weights: NDArray[np.float64]) -> Any:
        del mixture
        return weights.tolist()

    def reweight(self, weights: Any) -> None:
        from datasets import interleave_datasets

        self.weights, self.seed, self.head = weights, self.seed + 1, 0
        self.mixed = interleave_datasets(self.cells, probabilities=weights, seed=self.seed)

    def draw(self, count: int) -> NDArray[np.int64]:
        parts = []
        while count:
            if self.head == len(self.mixed):
                self.reweight(self.weights)
            part = self.mixed[self.head : self.head + count]["row"]
            parts.append(part)
            self.head += len(part)
            count -= len(part)
        return np.concatenate(parts)

    def state(self) -> Any:
        return self.seed, self.weights, self.head

    def restore(self, state: Any) -> None:
        seed, weights, head = state
        self.seed = seed - 1
        self.reweight(weights)
        self.head = head
