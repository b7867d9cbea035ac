"""Reuse: signals from the batches that the model is trained on, without a pass of their own."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hbo_plugin.signals.context import Context
from hbo_plugin.signals.passes import answers, token_statistics
from hbo_plugin.signals.sources import Batch, SignalSource

_OF_GRADIENTS = ("gradient_norm", "gradient_variance")

SKETCH = 1024
"""Numbers that stand for a gradient at the logits; they keep its norm to within some 2%."""
_MOST_PENDING = 1 << 24
"""Numbers that stay on the model's device before they are added up."""


class Reuse(SignalSource):
    """Adds up what the logits of trained batches tell, from one measurement to the next.

    What differs from probes: rows are those that the weights chose, measured over many steps and not at one moment;
    gradients are those of a bias at the logits, in closed form; `perplexity_ratio` is relative to the first
    measurement of the cell.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Nothing was observed yet.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        super().__init__(names, context)
        cells = context.cells
        self._statistics = ("loss", "entropy") if "entropy" in names else ("loss",)
        self._of_gradients = any(name in _OF_GRADIENTS for name in names)
        self._sketch: tuple[torch.Tensor, torch.Tensor] | None = None
        self._pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, NDArray[np.int64]]] = []
        self._pending_numbers = 0
        datasets = len(cells.names) if self._of_gradients else 0
        self._local = (np.zeros((1 + len(self._statistics), cells.sizes.size)), np.zeros((datasets, SKETCH + 3)))
        """What this rank saw since `gather`: of each cell tokens and the sums of the statistics, float64[1 + statistics,
        cells]; of each dataset the sum of its gradients, that of their squares, rows and tokens, float64[datasets, ...]."""
        self._total = tuple(np.zeros_like(sums) for sums in self._local)
        """The same for all ranks together, since the last measurement and until `gather`."""
        self._norm_rows = np.minimum(cells.sizes.sum(axis=1), context.gradient_rows)
        """Rows of each dataset that its gradient norm is one of, as with probes, int64[datasets]."""
        self._first = np.full(cells.sizes.size, np.nan)
        """Mean loss of each cell when it was first measured, float64[cells]."""
        self._local_dropped = 0  # by this rank since `gather`

    def observes(self, step: int) -> bool:
        """One step in so many: whole steps, however they are shared out over ranks."""
        return step % self._context.observed_every == 0

    def observe(self, batch: Batch) -> None:
        """Look at the logits, [sequences, tokens, vocabulary], and the labels, int64[sequences, tokens]."""
        logits, labels = batch.outputs.get("logits"), batch.inputs["labels"]
        if logits is None:
            msg = (
                "the loss computation gave no logits, which `hbo.signals: reuse` looks at; "
                "set `hbo.signals: probe`, or turn the fused loss off."
            )
            raise RuntimeError(msg)
        lengths, left = self._context.cells.lengths, self._context.pads_left
        at, owners, targets = answers(labels, batch.rows, lengths, left=left)
        scores = logits.detach().flatten(0, 1)
        rows = np.fromiter((row for sequence in batch.rows for row in sequence), np.int64)
        wanted = owners if self._of_gradients else None
        values, gradients = token_statistics(scores, at, targets, self._statistics, owners=wanted, rows=len(rows))
        sketches = self._sketched(gradients) if self._of_gradients else None
        self._pending.append((values, owners, sketches, rows))
        self._pending_numbers += len(at) + len(rows) * SKETCH
        if self._pending_numbers > _MOST_PENDING:
            self._add_up()

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
        tokens, datasets = self._local
        count = tokens.shape[1]
        for values, owners, gradients, rows in self._pending:
            statistics, owner = values.double().cpu().numpy(), owners.cpu().numpy()
            cells = self._context.cells.of(rows)
            finite = np.isfinite(statistics).all(0)
            self._local_dropped += int((~finite).sum())
            cell = cells[owner[finite]]
            tokens += [np.bincount(cell, each, count) for each in (np.ones(len(cell)), *statistics[:, finite])]
            if gradients is not None:
                sketches = gradients.double().cpu().numpy()
                parts = (sketches, (sketches**2).sum(1), np.ones(len(rows)), np.bincount(owner, minlength=len(rows)))
                whole = np.isfinite(sketches).all(1) & (parts[3] > 0)
                # Row by row, which takes a tenth of the time that `np.add.at` takes.
                for dataset, row in zip(
                    cells[whole] // self._context.cells.levels, np.column_stack(parts)[whole], strict=True
                ):
                    datasets[dataset] += row
        self._pending.clear()
        self._pending_numbers = 0

    def gather(self) -> None:
        """Add up what all ranks saw."""
        self._add_up()
        sums = np.concatenate([*(local.ravel() for local in self._local), [self._local_dropped]])
        ends = np.cumsum([local.size for local in self._local])
        *parts, (dropped,) = np.split(self._context.ranks.sum(sums), ends)
        for total, local, part in zip(self._total, self._local, parts, strict=True):
            total[:] += part.reshape(local.shape)
            local[:] = 0
        self.dropped += int(dropped)
        self._local_dropped = 0

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """The signals of the batches since the last measurement; NaN where there was no batch."""
        self.gather()
        (tokens, *sums), datasets = (total.copy() for total in self._total)
        for total in self._total:
            total[:] = 0
        shape = self._context.cells.sizes.shape
        signals = {}
        with np.errstate(invalid="ignore", divide="ignore"):
            means = {name: total / tokens for name, total in zip(self._statistics, sums, strict=True)}
            self._first[:] = np.where(np.isnan(self._first), means["loss"], self._first)
            means["perplexity_ratio"] = np.exp(means["loss"] - self._first)
            signals = {name: means[name].reshape(shape) for name in self._names if name in means}
            if self._of_gradients:
                norm, variance = self._gradients(datasets)
                found = {"gradient_norm": norm, "gradient_variance": variance}
                signals |= {name: found[name] for name in self._names if name in found}
        return signals

    def _gradients(self, sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norm of the gradient of as many rows as probes measure, and variance of that of one; float64[datasets].

        The square of a mean over n rows is that of the true mean and a n-th of the variance: without taking this
        out, a dataset would seem to have the larger gradient the fewer of its rows were drawn. A method that takes
        the noise off must know n, so it is the same n as with probes.
        """
        total, squares, rows, tokens = sums[:, :SKETCH], *sums[:, SKETCH:].T
        each = tokens / rows
        mean = ((total / tokens[:, None]) ** 2).sum(1)
        variance = np.maximum(squares / each**2 - rows * mean, 0) / (rows - 1)
        variance[rows < 2] = np.nan
        true = np.maximum(mean - variance / rows, 0)
        return np.sqrt(true + variance / self._norm_rows), variance

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the sums since the last measurement, and the first losses."""
        tokens, datasets = self._total
        sums = {"tokens": tokens, "gradients": datasets, "first": self._first}
        return {name: torch.from_numpy(values) for name, values in sums.items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned; ValueError where other signals were measured."""
        for name, values in zip(("tokens", "gradients", "first"), (*self._total, self._first), strict=True):
            found = tensors[name].numpy()
            if found.shape != values.shape:
                msg = (
                    f"the checkpoint has {name} of shape {found.shape} from training batches, but this run has "
                    f"{values.shape}; set `hbo.signals`, `hbo.method` and `hbo.reward` as they were, or start afresh."
                )
                raise ValueError(msg)
            values[:] = found
