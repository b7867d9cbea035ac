"""Reuse: signals from the batches that the model is trained on, without a pass of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hbo_plugin.cells import Cells
from hbo_plugin.signals.passes import IGNORED, over_ranks, token_statistics

_OF_TOKENS = ("loss", "perplexity_ratio", "entropy")
_OF_GRADIENTS = ("gradient_norm", "gradient_variance")
REUSABLE = (*_OF_TOKENS, *_OF_GRADIENTS)
"""Signals that training batches can give."""

SKETCH = 1024
"""Numbers that stand for a gradient at the logits; they keep its norm to within some 2%."""
_MOST_PENDING = 1 << 24
"""Numbers that stay on the model's device before they are added up."""


class Reuse:
    """Adds up what the logits of trained batches tell, from one measurement to the next.

    What differs from probes: rows are those that the weights chose, measured on the way and not at one moment;
    gradients are those by a bias at the logits, in closed form; `perplexity_ratio` is relative to the first measurement
    of the cell.
    """

    def __init__(self, trainer: Any, cells: Cells, wanted: Sequence[str], *, gradient_rows: int) -> None:
        """Nothing was observed yet.

        Args:
            trainer: the Trainer whose batches are observed.
            cells: the layout of the training set.
            wanted: signals to be measured, of `REUSABLE`.
            gradient_rows: rows that a gradient norm is to be that of, however many were trained on.
        """
        self._trainer = trainer
        self._cells = cells
        self._wanted = tuple(wanted)
        self._gradient_rows = gradient_rows
        self._left = getattr(trainer.processing_class, "padding_side", "right") == "left"
        self._statistics = ("loss", "entropy") if "entropy" in wanted else ("loss",)
        self._of_gradients = any(name in _OF_GRADIENTS for name in wanted)
        self._sketch: tuple[torch.Tensor, torch.Tensor] | None = None
        self._pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, NDArray[np.int64]]] = []
        self._waiting = 0
        datasets = len(cells.names) if self._of_gradients else 0
        self._mine = (np.zeros((1 + len(self._statistics), cells.sizes.size)), np.zeros((datasets, SKETCH + 3)))
        """What this rank saw since `settle`: of each cell tokens and the sums of the statistics, float64[1 + statistics,
        cells]; of each dataset the sum of its gradients, that of their squares, rows and tokens, float64[datasets, ...]."""
        self._all = tuple(np.zeros_like(sums) for sums in self._mine)
        """The same for all ranks together, since the last measurement and until `settle`."""
        self._first = np.full(cells.sizes.size, np.nan)
        """Mean loss of each cell when it was first measured, float64[cells]."""
        self._dropped = 0  # by this rank since `settle`
        self.dropped = 0

    def observe(self, logits: torch.Tensor, labels: torch.Tensor, lines: Sequence[Sequence[int]]) -> None:
        """Take notice of a batch.

        Args:
            logits: of the batch, [lines, tokens, vocabulary].
            labels: of the batch, int64[lines, tokens].
            lines: the rows in each line, one or more that follow each other.
        """
        segments = torch.as_tensor(self._segments(lines, labels.shape[1]), device=labels.device)
        # A token is predicted by the one before it, which belongs to another row where a row begins.
        inside = (segments[:, 1:] >= 0) & (segments[:, 1:] == segments[:, :-1])
        at = functional.pad((labels[:, 1:] != IGNORED) & inside, (0, 1)).flatten().nonzero()[:, 0]
        owners, targets, scores = segments.flatten()[at + 1], labels.flatten()[at + 1], logits.detach().flatten(0, 1)
        rows = np.fromiter((row for line in lines for row in line), np.int64)
        wanted = owners if self._of_gradients else None
        values, gradients = token_statistics(scores, at, targets, self._statistics, owners=wanted, rows=len(rows))
        sketches = self._sketched(gradients) if self._of_gradients else None
        self._pending.append((values, owners, sketches, rows))
        self._waiting += len(at) + len(rows) * SKETCH
        if self._waiting > _MOST_PENDING:
            self._add_up()

    def _segments(self, lines: Sequence[Sequence[int]], tokens: int) -> NDArray[np.int64]:
        """The segment that each token belongs to, counted over all lines, -1 for padding; int64[lines, tokens]."""
        segments = np.full((len(lines), tokens), -1)
        number = 0
        for line, rows in zip(segments, lines, strict=True):
            if len(rows) == 1:  # on whichever side it is padded
                line[:] = number
            else:
                owners = np.repeat(np.arange(number, number + len(rows)), self._cells.lengths[list(rows)])
                line[tokens - len(owners) if self._left else 0 :][: len(owners)] = owners
            number += len(rows)
        return segments

    def _sketched(self, gradients: torch.Tensor) -> torch.Tensor:
        """Sums of the entries in random parts of the vocabulary, with random signs; float32[rows, SKETCH]."""
        vocabulary, device = gradients.shape[1], gradients.device
        if self._sketch is None:
            rng = np.random.default_rng(0)
            padded = -(-vocabulary // SKETCH) * SKETCH
            signs = rng.choice(np.array([-1, 1], np.float32), padded)
            order = rng.permutation(padded)
            self._sketch = torch.as_tensor(order, device=device), torch.as_tensor(signs, device=device)
        places, signed = self._sketch
        shuffled: torch.Tensor = functional.pad(gradients, (0, len(places) - vocabulary))[:, places] * signed
        return shuffled.reshape(len(gradients), -1, SKETCH).sum(1)

    def _add_up(self) -> None:
        tokens, datasets = self._mine
        count = tokens.shape[1]
        for values, owners, gradients, rows in self._pending:
            statistics, owner = values.double().cpu().numpy(), owners.cpu().numpy()
            cells = self._cells.of(rows)
            finite = np.isfinite(statistics).all(0)
            self._dropped += int((~finite).sum())
            cell = cells[owner[finite]]
            tokens += [np.bincount(cell, each, count) for each in (np.ones(len(cell)), *statistics[:, finite])]
            if gradients is not None:
                sketches = gradients.double().cpu().numpy()
                parts = (sketches, (sketches**2).sum(1), np.ones(len(rows)), np.bincount(owner, minlength=len(rows)))
                whole = np.isfinite(sketches).all(1) & (parts[3] > 0)
                # Row by row, which takes a tenth of the time that `np.add.at` takes.
                for dataset, row in zip(cells[whole] // self._cells.levels, np.column_stack(parts)[whole], strict=True):
                    datasets[dataset] += row
        self._pending.clear()
        self._waiting = 0

    def settle(self) -> None:
        """Add up what all ranks saw; every rank calls it, before a measurement and before a checkpoint."""
        self._add_up()
        sums = np.concatenate([*(mine.ravel() for mine in self._mine), [self._dropped]])
        *parts, (dropped,) = np.split(over_ranks(self._trainer, sums), np.cumsum([mine.size for mine in self._mine]))
        for everyone, mine, part in zip(self._all, self._mine, parts, strict=True):
            everyone[:] += part.reshape(mine.shape)
            mine[:] = 0
        self.dropped += int(dropped)
        self._dropped = 0

    def measure(self) -> dict[str, NDArray[np.float64]]:
        """The signals of the batches since the last measurement, each in its shape; NaN where there was no batch."""
        if not self._wanted:
            return {}
        self.settle()
        (tokens, *sums), datasets = (total.copy() for total in self._all)
        for total in self._all:
            total[:] = 0
        shape = self._cells.sizes.shape
        signals = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {name: total / tokens for name, total in zip(self._statistics, sums, strict=True)}
            self._first = np.where(np.isnan(self._first), means["loss"], self._first)
            means["perplexity_ratio"] = np.exp(means["loss"] - self._first)
            signals = {name: means[name].reshape(shape) for name in self._wanted if name in means}
            if self._of_gradients:
                norm, variance = self._gradients(datasets)
                found = {"gradient_norm": norm, "gradient_variance": variance}
                signals |= {name: found[name] for name in self._wanted if name in found}
        return signals

    def _gradients(self, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norm of the gradient of the mean loss of `gradient_rows` rows, and variance of that of one; float64[datasets].

        The square of a mean over n rows is that of the true mean and a n-th of the variance: without taking this
        out, a dataset would seem to have the larger gradient the fewer of its rows were drawn.
        """
        total, squares, rows, tokens = sums[:, :SKETCH], *sums[:, SKETCH:].T
        each = tokens / rows
        mean = ((total / tokens[:, None]) ** 2).sum(1)
        variance = np.maximum(squares / each**2 - rows * mean, 0) / (rows - 1)
        variance[rows < 2] = np.nan
        true = np.maximum(mean - variance / rows, 0)
        return np.sqrt(true + variance / self._gradient_rows), variance

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe; after `settle`, the same on every rank."""
        first = [None if np.isnan(loss) else float(loss) for loss in self._first]
        tokens, datasets = self._all
        return {"tokens": tokens.tolist(), "gradients": datasets.tolist(), "first": first, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for total, name in zip(self._all, ("tokens", "gradients"), strict=True):
            if len(state[name]) != len(total):
                msg = (
                    f"the checkpoint has {len(state[name])} sums of {name} from training batches, and this run has "
                    f"{len(total)}: set `hbo.signals`, `hbo.method` and `hbo.reward` as they were, or start afresh."
                )
                raise ValueError(msg)
            total[:] = np.array(state[name], np.float64).reshape(total.shape)
        self._first = np.array([np.nan if loss is None else loss for loss in state["first"]], np.float64)
        self.dropped = state["dropped"]
