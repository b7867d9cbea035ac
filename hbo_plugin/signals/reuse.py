"""Reuse: signals from the batches that the model is trained on, in passing."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from hbo_plugin.signals.layers import SKETCH, LayerGradients
from hbo_plugin.signals.probes import mean_by_cell, sample_cells, training_losses
from hbo_plugin.signals.row_gradients import RowGradients
from hbo_plugin.signals.sources import Batch, SignalSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.tokens import Scale

_OF_GRADIENTS = ("gradient_norm", "gradient_variance")

_MOST_PENDING = 1 << 24
"""Numbers that stay on the model's device before they are added up."""


class Reuse(SignalSource):
    """Adds up what training tells of its batches, from one measurement to the next, and their losses for the loggers.

    What differs from probes: rows are those that the weights chose, measured over many steps and not at one moment, under
    the training's own dropout; gradients are those by the weights of linear layers and embeddings, sketched. Where the
    model cannot be run apart from the training, `perplexity_ratio` is relative to the first measurement of the cell.
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
        self._layers = LayerGradients(context.clock)
        self._seen: tuple[torch.Tensor, NDArray[np.int64], NDArray[np.int64]] | None = None
        """Statistics, owners and rows of the micro-batch that is watched."""
        self._weights: NDArray[np.float64] | None = None
        """By which the gradients of its rows are multiplied."""
        self._scale: Scale | None = None
        """What its backward pass multiplied the loss of each token by."""
        self._other_scale: torch.Tensor | None = None
        """The same by the loss itself."""
        self._pending: list[tuple[torch.Tensor, NDArray[np.int64], torch.Tensor | None, NDArray[np.int64]]] = []
        self._pending_numbers = 0
        self._gradients = RowGradients(len(cells.names) if self._of_gradients else 0)
        self._local = np.zeros((3 + len(self._statistics), cells.sizes.size))
        """What this rank saw since `gather`: of each cell rows and the sums of their mean losses, tokens and the sums of
        the statistics, float64[3 + statistics, cells]."""
        self._total = np.zeros_like(self._local)
        """The same for all ranks together, since the last measurement and until `gather`."""
        self._untold = np.zeros((2, len(cells.names)))
        """Tokens and the sum of their losses since `take_means`, of all ranks together, float64[2, datasets]."""
        self._norm_rows = np.minimum(cells.sizes.sum(axis=1), context.gradient_rows)
        """Rows of each dataset that its gradient norm is one of, as with probes, int64[datasets]."""
        self._first = np.full(cells.sizes.size, np.nan)
        """Mean over rows of their mean losses in each cell before the first step, or when it was first measured; float64[cells]."""
        self._local_dropped = 0  # by this rank since `gather`

    def begin(self, step: int) -> None:
        """Measure what a perplexity ratio is relative to, where the model can be run for it."""
        if step == 0 and "perplexity_ratio" in self.names and self._context.passes:
            sample = sample_cells(self._context)
            self._first[:] = mean_by_cell(self._context.cells, sample, training_losses(self._context, sample))

    def observes(self, step: int) -> bool:
        """One step in so many: whole steps, however they are shared out over ranks."""
        return step % self._context.observed_every == 0

    @property
    def follows_gradients(self) -> bool:
        """Where a signal is of gradients."""
        return self._of_gradients

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch one micro-batch: its forward pass, `observe`, and its backward pass."""
        self._seen = self._scale = self._other_scale = None
        with self._layers.watching(self._context.model) if self._of_gradients else nullcontext():
            yield
        if self._seen is None:
            return
        values, owners, rows = self._seen
        sketches = None
        if self._of_gradients:
            scale = self._other_scale if self._scale is None or self._scale.value is None else self._scale.value
            if scale is None:
                msg = (
                    "no gradient came back to the logits, from which `hbo.signals: reuse` measures; "
                    "set `hbo.signals: probe`, or remove what computes another loss."
                )
                raise RuntimeError(msg)
            sketches = self._layers.sketches / scale
            if self._weights is not None:  # a row of weight 0 has no gradient any more, and drops out
                sketches /= torch.as_tensor(self._weights, dtype=sketches.dtype, device=sketches.device)[:, None]
        self._pending.append((values, owners, sketches, rows))
        self._pending_numbers += values.numel() + len(rows) * SKETCH
        if self._pending_numbers > _MOST_PENDING:
            self._add_up()

    def observe(self, batch: Batch) -> None:
        """Look at the predictions of a batch, and at what its backward pass gives its loss and its logits."""
        if batch.predictions is None:
            if not self.names:
                return
            msg = (
                "the loss computation gave no logits, which `hbo.signals: reuse` looks at; "
                "set `hbo.signals: probe`, or turn the fused loss off."
            )
            raise RuntimeError(msg)
        predictions, rows = batch.predictions, batch.numbers
        values = torch.stack([predictions.statistics[name] for name in self._statistics])
        self._seen, self._weights = (values, predictions.owners, rows), batch.weights
        if self._of_gradients:
            self._scale = predictions.scale
            self._layers.expect(predictions.whose, len(rows), values.device)
            loss = batch.outputs.get("loss")
            if loss is not None and loss.requires_grad:
                loss.register_hook(partial(self._scale_of_loss, loss.detach(), values[0]))

    def _scale_of_loss(self, loss: torch.Tensor, losses: torch.Tensor, gradient: torch.Tensor) -> None:
        """Not exact where the loss has other parts; but DeepSpeed's ZeRO 3 hands out logits that nothing comes back to."""
        self._other_scale = gradient * loss / losses.nansum()

    def _add_up(self) -> None:
        cells, count = self._context.cells, self._local.shape[1]
        for values, owner, sketches, rows in self._pending:
            statistics = values.double().cpu().numpy()
            cell, finite = cells.of(rows), np.isfinite(statistics).all(0)
            self._local_dropped += int((~finite).sum())
            tokens = np.bincount(owner, minlength=len(rows))
            # Rows with an answer that is finite throughout.
            whole = (np.bincount(owner[finite], minlength=len(rows)) == tokens) & (tokens > 0)
            losses = np.bincount(owner, statistics[0], len(rows))[whole] / tokens[whole]
            of_rows = [np.bincount(cell[whole], each, count) for each in (np.ones(whole.sum()), losses)]
            of_tokens = [
                np.bincount(cell[owner[finite]], each, count)
                for each in (np.ones(finite.sum()), *statistics[:, finite])
            ]
            self._local += [*of_rows, *of_tokens]
            if sketches is not None:
                found = sketches.double().cpu().numpy()
                whole &= np.isfinite(found).all(1)
                self._gradients.add(cell[whole] // cells.levels, found[whole], tokens[whole])
        self._pending.clear()
        self._pending_numbers = 0

    def gather(self) -> None:
        """Add up what all ranks saw."""
        self._add_up()
        parts = self._local, self._gradients.seen
        sums = self._context.ranks.sum(np.concatenate([*(part.ravel() for part in parts), [self._local_dropped]]))
        of_cells, of_gradients, (dropped,) = np.split(sums, np.cumsum([part.size for part in parts]))
        seen = of_cells.reshape(self._total.shape)
        self._total += seen
        self._untold += seen[2:4].reshape(2, *self._context.cells.sizes.shape).sum(axis=2)
        self._local[:] = 0
        self._gradients.close_step(of_gradients.reshape(self._gradients.seen.shape))
        self.dropped += int(dropped)
        self._local_dropped = 0

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """The signals of the batches since the last measurement; NaN where there was no batch."""
        rows, losses, tokens, *sums = self._total.copy()
        self._total[:] = 0
        with np.errstate(invalid="ignore", divide="ignore"):
            cells = {name: total / tokens for name, total in zip(self._statistics, sums, strict=True)}
            mean = losses / rows
            self._first[:] = np.where(np.isnan(self._first), mean, self._first)
            cells["perplexity_ratio"] = np.exp(mean - self._first)
        shaped = {name: values.reshape(self._context.cells.sizes.shape) for name, values in cells.items()}
        if self._of_gradients:
            shaped["gradient_norm"], shaped["gradient_variance"] = self._gradients.measure(self._norm_rows)
        return {name: shaped[name] for name in self.names}

    def take_means(self) -> dict[str, dict[str, float]]:
        """The losses of the batches since the last call, per token."""
        named = zip(self._context.cells.names, *self._untold.tolist(), strict=True)
        losses = {name: total / tokens for name, tokens, total in named if tokens}
        self._untold[:] = 0
        return {"loss": losses}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the sums since the last measurement and since `take_means`, and the first losses."""
        return {name: torch.from_numpy(values) for name, values in self._kept().items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned; ValueError where other signals were measured."""
        for name, values in self._kept().items():
            found = tensors[name].numpy()
            if found.shape != values.shape:
                msg = (
                    f"the checkpoint has {name} of shape {found.shape} from training batches, but this run has "
                    f"{values.shape}; set `hbo.signals`, `hbo.method` and `hbo.reward` as they were, or start afresh."
                )
                raise ValueError(msg)
            values[:] = found

    def _kept(self) -> dict[str, NDArray[np.float64]]:
        losses = {"losses": self._untold}
        if not self.names:
            return losses
        open_, closed = self._gradients.open, self._gradients.closed
        return {**losses, "sums": self._total, "gradients": open_, "pairs": closed, "first": self._first}
