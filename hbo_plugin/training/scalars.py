"""Scalars: the names and numbers that go to the loggers, per dataset, and per level where that is asked for."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.methods.reading import SIGNALS, by_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells
    from hbo_plugin.training.balancer import Balancer


class Scalars:
    """Knows how loggers write the name of each dataset and held-out set."""

    def __init__(
        self, cells: Cells, metric_names: Mapping[str, str], target: Iterable[str], *, log_levels: bool
    ) -> None:
        """Make them for a run.

        Args:
            cells: the layout of the training set.
            metric_names: how scalars write the name of each dataset and held-out set.
            target: the held-out sets that count.
            log_levels: whether there are scalars of each level too.
        """
        self._cells = cells
        self._names = [metric_names[name] for name in cells.names]
        self._target = [metric_names[name] for name in target]
        self._log_levels = log_levels

    def of_mixture(self, balancer: Balancer) -> dict[str, float]:
        """The weights in force, and what was trained on."""
        cells, scalars = self._cells, {}
        weights, shape = balancer.weights(), cells.sizes.shape
        counted = {"row": balancer.rows_trained, "token": balancer.tokens, "trained_token": balancer.trained_tokens}
        counts = {unit: of_cells.reshape(shape).sum(axis=1) for unit, of_cells in counted.items()}
        shares = {unit: count / max(1, count.sum()) for unit, count in counts.items()}
        for index, name in enumerate(self._names):
            scalars[f"hbo/weight/{name}"] = float(weights[index].sum())
            for unit, share in shares.items():
                scalars[f"hbo/share/{unit}/{name}"] = float(share[index])
            scalars[f"hbo/epochs/{name}"] = float(counts["row"][index] / cells.sizes[index].sum())
            there = np.where(cells.sizes[index] > 0, weights[index], np.nan)
            scalars |= self._levels(f"hbo/level_weight/{name}", there)
        scalars["hbo/capped_levels"] = float(balancer.capped.sum())
        return scalars

    def of_signals(self, signals: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
        """A scalar for each dataset that was measured, the mean over its rows where a signal has one value a level.

        A signal with a value for each held-out set of the target has a scalar for each pair.
        """
        scalars: dict[str, float] = {}
        for signal, values in signals.items():
            if SIGNALS[signal].shape == "target":
                pairs = zip(product(self._names, self._target), values.ravel().tolist(), strict=True)
                found = {"/".join(pair): value for pair, value in pairs}
            else:
                found = dict(zip(self._names, by_dataset(values, self._cells.sizes).tolist(), strict=True))
            scalars |= {f"hbo/signal/{signal}/{name}": found[name] for name in found if np.isfinite(found[name])}
            if SIGNALS[signal].per_cell:
                for name, of_levels in zip(self._names, values, strict=True):
                    scalars |= self._levels(f"hbo/level_signal/{signal}/{name}", of_levels)
        return scalars

    def of_row_weights(self, told: Mapping[str, Any]) -> dict[str, float]:
        """The mean weight of each dataset's rows, and what is told of all of them; see `Tally.take`."""
        scalars = {f"hbo/row_weights/{name}": told[name] for name in ("mean", "std", "effective", "zero", "with_loss")}
        for name, mean, of_levels in zip(self._names, told["datasets"], told["cells"], strict=True):
            scalars[f"hbo/row_weight/{name}"] = mean
            scalars |= self._levels(f"hbo/level_row_weight/{name}", np.array(of_levels, np.float64))
        return {name: value for name, value in scalars.items() if value is not None}

    def of_batches(self, means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """What was seen of the training batches, of each dataset that was there."""
        named = dict(zip(self._cells.names, self._names, strict=True))
        return {f"hbo/{what}/{named[name]}": mean for what, found in means.items() for name, mean in found.items()}

    def _levels(self, name: str, values: NDArray[np.float64]) -> dict[str, float]:
        """A scalar for each measured level, where they are asked for."""
        if not self._log_levels:
            return {}
        return {f"{name}/{level}": float(value) for level, value in enumerate(values) if np.isfinite(value)}
