"""Weighing: what a run asks of its row weights, at each micro-batch and after each step."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hbo_plugin.row_weights.base import LearnsFromInfluence, SeenRows
from hbo_plugin.row_weights.seam import Seam
from hbo_plugin.row_weights.tally import Tally
from hbo_plugin.signals.influence import held_out_gradient, influence_by_difference
from hbo_plugin.signals.layer_influence import LayerInfluence, exact_by_layers
from hbo_plugin.signals.tokens import owners_of, row_means

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hbo_plugin.row_weights.base import RowWeights
    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.sources import Batch
    from hbo_plugin.signals.tokens import Scale

LOG = logging.getLogger(__name__)

_LOSS, _ENTROPY, _WEIGHT, _INFLUENCE = range(4)


class Weighing:
    """Gives row weights what they need to know, and the seam what they say."""

    def __init__(
        self,
        context: Context,
        row_weights: RowWeights,
        next_batches: Callable[[], tuple[Sequence[Sequence[Sequence[int]]], bool]],
        *,
        layers_seen: bool,
    ) -> None:
        """Weigh nothing yet.

        Args:
            context: the run.
            row_weights: new; the run moves them.
            next_batches: gives the rows in each sequence of each micro-batch, on all ranks, of the step that begins; and
                whether it is one of a branch, from which nothing is learned.
            layers_seen: whether the layers that are trained can be watched.
        """
        self._context, self._row_weights = context, row_weights
        self._seam, self.tally = Seam(context.clock), Tally(context.cells)
        self._next_batches = next_batches
        self._by_layers = layers_seen and exact_by_layers(context.model)
        self._step = 0
        self._batches: Sequence[Sequence[Sequence[int]]] = ()
        self._rows = np.empty(0, np.int64)  # of the step, on all ranks, in the order of the stream
        self._starts = np.empty(0, np.int64)  # where each micro-batch begins in them, and where the last ends
        self._done = 0  # micro-batches of this rank
        self._place = slice(0)  # of this rank's last micro-batch among them
        self._table = np.empty((4, 0))  # of each row what this rank saw, see the names above
        self._layers: LayerInfluence | None = None
        self._scale: Scale | None = None

    def begin(self) -> None:
        """The training begins: act on the model from now on."""
        self._seam.attach(self._context.model)

    @property
    def measured(self) -> str:
        """How the influence of rows is measured, in words; empty where nothing learns from it."""
        if not isinstance(self._row_weights, LearnsFromInfluence):
            return ""
        where = "the training's own backward pass" if self._by_layers else "two forward passes over the rows of a step"
        return f"the influence of rows comes from {where}"

    def _begin_step(self, step: int) -> None:
        """A step begins, between two backward passes."""
        self._batches, apart = self._next_batches()
        self._step, self._done = step, 0
        rows = [[*chain.from_iterable(batch)] for batch in self._batches]
        self._rows = np.fromiter(chain.from_iterable(rows), np.int64)
        self._starts = np.cumsum([0, *map(len, rows)])
        self._table = np.zeros((4, len(self._rows)))
        self._row_weights.begin_step(step, self._rows)
        self._layers = None
        if not apart and self._refreshes and self._by_layers:
            gradient = held_out_gradient(self._context, step)
            self._layers = LayerInfluence(self._context.model, gradient, self._context.clock)

    @property
    def looks(self) -> bool:
        """Whether weights follow from what the model predicts."""
        return self._row_weights.looks

    @property
    def follows_gradients(self) -> bool:
        """Whether it looks at what this step's backward passes give."""
        return self._layers is not None

    @property
    def sequences(self) -> Sequence[Sequence[int]]:
        """The rows in each sequence of this rank's next micro-batch."""
        return self._batches[self._next]

    @property
    def _next(self) -> int:
        return self._done * self._context.ranks.size + self._context.ranks.rank

    @contextmanager
    def micro_batch(self, step: int) -> Iterator[None]:
        """Act on this rank's next micro-batch of a step while open: its forward pass, `weigh`, and its backward pass."""
        if self._next >= len(self._batches):
            with self._context.clock("signals"):
                self._begin_step(step)
        self._scale = None
        with ExitStack() as stack:
            stack.enter_context(self._seam.open())
            if self._layers is not None:
                stack.enter_context(self._layers.watching())
            yield
        scale = None if self._scale is None else self._scale.value
        if self._layers is not None and scale is not None:
            found = (self._layers.influence / scale).double().cpu().numpy()
            with np.errstate(invalid="ignore", divide="ignore"):
                found /= self._table[_WEIGHT, self._place]
            self._table[_INFLUENCE, self._place] = found if self._layers.complete else np.nan

    def weigh(self, batch: Batch) -> NDArray[np.float64]:
        """Weigh the rows of this rank's next micro-batch, between its passes; float64[rows], in their order."""
        context, labels = self._context, batch.inputs["labels"]
        self._place = place = slice(int(self._starts[self._next]), int(self._starts[self._next + 1]))
        self._done += 1
        if self._row_weights.looks:
            self._table[: _ENTROPY + 1, place] = self._look(batch)
        whose = owners_of(tuple(labels.shape), batch.rows, context.cells.lengths, left=context.pads_left)
        weights = self._checked(self._seen(place))
        self._table[_WEIGHT, place] = weights
        # The prediction made at a token is that of the next one, whose row counts.
        owner = np.concatenate([whose[:, 1:], np.full((len(whose), 1), -1)], axis=1)
        factors = np.where(owner >= 0, weights[owner], 1.0)
        self._seam.expect(torch.as_tensor(factors, dtype=torch.float32).to(labels.device, non_blocking=True))
        return weights

    def _look(self, batch: Batch) -> NDArray[np.float64]:
        """Mean loss and entropy of the answer of each row, float64[2, rows]; NaN where there is none."""
        predictions, rows = batch.predictions, len(batch.numbers)
        if predictions is None:
            msg = "the loss computation gave no logits, which `hbo.row_weights` looks at; turn the fused loss off."
            raise RuntimeError(msg)
        if self._layers is not None:
            self._layers.expect(predictions.whose, rows)
            self._scale = predictions.scale
        values = torch.stack([predictions.statistics[name] for name in ("loss", "entropy")]).double().cpu().numpy()
        return np.stack([row_means(each, predictions.owners, rows) for each in values])

    def _checked(self, rows: SeenRows) -> NDArray[np.float64]:
        weights = np.asarray(self._row_weights.weights(rows), np.float64)
        name = type(self._row_weights).__name__
        if weights.shape != rows.row.shape:
            msg = f"`{name}` gave weights of shape `{weights.shape}` for {len(rows.row)} rows; correct its `weights()`."
            raise ValueError(msg)
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        if wrong.any():
            msg = f"`{name}` gave the weight `{weights[wrong][0]}`, but it must be 0 or more, and finite; correct its `weights()`."
            raise ValueError(msg)
        return weights

    def end_step(self) -> None:
        """The step was made: let the row weights and the tally know all its rows."""
        context = self._context
        if self._row_weights.looks:
            self._table = context.ranks.sum(self._table)
        else:
            self._table[:_WEIGHT] = np.nan
            self._table[_WEIGHT] = self._checked(self._seen(slice(None)))
        rows, weights = self._seen(slice(None)), self._table[_WEIGHT]
        self._row_weights.end_step(self._step, rows, weights)
        if isinstance(self._row_weights, LearnsFromInfluence) and self._refreshes:
            influence = self._table[_INFLUENCE]
            # Some layers show only in the passes themselves that they cannot be watched.
            if self._layers is None or not np.isfinite(influence).any():
                gradient = held_out_gradient(context, self._step)
                influence = influence_by_difference(context, gradient, self._rows)
            self._row_weights.refresh(rows, influence)
        self._layers = None  # as large as what is trained
        self.tally.add(rows, weights)

    @property
    def _refreshes(self) -> bool:
        return isinstance(self._row_weights, LearnsFromInfluence) and self._row_weights.refreshes(self._step)

    def _seen(self, place: slice) -> SeenRows:
        cells, rows = self._context.cells, self._rows[place]
        cell = cells.of(rows)
        loss, entropy = (
            self._table[: _ENTROPY + 1, place] if self._row_weights.looks else np.full((2, len(rows)), np.nan)
        )
        return SeenRows(
            row=rows,
            dataset=cell // cells.levels,
            level=cell % cells.levels,
            tokens=cells.trained[rows].astype(np.int64),
            loss=loss,
            entropy=entropy,
        )

    def save(self, folder: Path) -> None:
        """The training ended: leave in a folder what the row weights learned; on one rank."""
        if not isinstance(self._row_weights, LearnsFromInfluence):
            return
        try:
            self._row_weights.save(folder)
        except OSError as error:  # a full disk must not undo the training
            LOG.warning("hbo: what the row weights learned could not be written to `%s`: %s", folder, error)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as plain JSON values, the same on every rank."""
        return self._row_weights.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._row_weights.load_state_dict(state)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a resumed run needs, by name, the same on every rank."""
        return {name: torch.from_numpy(array) for name, array in self.tally.arrays().items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned."""
        self.tally.load_arrays({name: tensor.numpy() for name, tensor in tensors.items()})
