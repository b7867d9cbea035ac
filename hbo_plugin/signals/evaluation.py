"""Evaluation: the loss of each held-out set, from the pass that the Trainer makes over all of them anyway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import BatchSampler, Sampler

from hbo_plugin.signals.held_out import held_out_losses
from hbo_plugin.signals.tokens import Logits, Predictions, owners_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hbo_plugin.signals.context import Context, HeldOutRows


class Evaluation:
    """Looks at the batches of one evaluation after the other, and adds up the loss of each held-out row."""

    def __init__(self, context: Context, held_out: HeldOutRows, batch_size: int) -> None:
        """Look at nothing yet.

        Args:
            context: the run.
            held_out: the rows that judge it.
            batch_size: rows of a batch of one rank, where they are not packed.
        """
        self._context = context
        self._held_out, self._sets, self._lengths = held_out, held_out.sets, held_out.lengths
        self._batch_size = batch_size
        self._watched: WatchedSampler | WatchedBatches | None = None
        self.begin()

    def begin(self) -> None:
        """A new evaluation begins."""
        self._batch = 0
        self._blind = False
        self.complete = False
        """Whether every held-out row was seen on some rank: packed evaluation leaves out what fills no batch."""
        rows = len(self._lengths)
        self._found = np.zeros((3, rows))
        """Of each row the sum of its losses, the number of its tokens and how often this rank saw it, float64[3, rows]."""

    def watch(self, sampler: Any) -> WatchedSampler | WatchedBatches:
        """The sampler, in a shape that remembers what it gave."""
        self._watched = WatchedBatches(sampler) if isinstance(sampler, BatchSampler) else WatchedSampler(sampler)
        return self._watched

    def observe(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Look at the next batch of this rank: its labels, int64[sequences, tokens], and its logits."""
        batch, logits, labels = self._batch, outputs.get("logits"), inputs["labels"]
        self._batch += 1
        # A fused loss may leave no logits, or only those of some tokens.
        if logits is None or logits.shape[:2] != labels.shape:
            self._blind = True
            return
        rows = self._rows_of(batch * self._context.ranks.size + self._context.ranks.rank)
        # Accelerate fills the last batches with rows that were evaluated before.
        if len(labels) > 1:
            labels, logits = labels[: len(rows)], logits[: len(rows)]
        if not rows:
            return
        whose = owners_of(tuple(labels.shape), rows, self._lengths, left=self._context.pads_left)
        found = Predictions.of(Logits.whole(logits), labels, whose, ("loss",))
        order = np.fromiter((row for sequence in rows for row in sequence), np.int64)
        row = order[found.owners]
        self._found[0] += np.bincount(row, found.statistics["loss"].double().cpu().numpy(), len(self._lengths))
        self._found[1] += np.bincount(row, minlength=len(self._lengths))
        self._found[2] += np.bincount(order, minlength=len(self._lengths))

    def _rows_of(self, batch: int) -> list[list[int]]:
        """The held-out rows of each sequence of a batch, counted over all ranks; none beyond the last."""
        if isinstance(self._watched, WatchedBatches):
            return self._watched.given[batch] if batch < len(self._watched.given) else []
        given = [] if self._watched is None else self._watched.given
        first = batch * self._batch_size
        return [[row] for row in given[first : first + self._batch_size]]

    def losses(self) -> dict[str, float] | None:
        """Mean loss per token of each held-out set, in nats, NaN where none has an answer.

        A pass of its own measures them where the evaluation did not show them all. Where that cannot be, the loss is that of
        the rows that were seen, and there is none where the batches had no logits to look at. Every rank calls it.
        """
        losses = self._seen()
        if not self.complete and self._context.passes:
            return held_out_losses(self._context, self._held_out)
        return losses

    def _seen(self) -> dict[str, float] | None:
        """The loss of the rows of each set that were seen."""
        sums, tokens, seen = self._context.ranks.sum(self._found)
        if self._context.ranks.sum(np.array([float(self._blind)]))[0]:
            return None
        self.complete = bool(seen.all())
        # A row that several ranks saw counts once.
        seen = np.maximum(seen, 1)
        losses = {}
        for name, rows in self._sets.items():
            part = slice(rows.start, rows.stop)
            count = (tokens[part] / seen[part]).sum()
            losses[name] = float((sums[part] / seen[part]).sum() / count) if count else float("nan")
        return losses


class WatchedSampler(Sampler[int]):
    """Rows in the order of another sampler, which are remembered."""

    def __init__(self, sampler: Any) -> None:
        """Nothing was given yet."""
        self._sampler = sampler
        self.given: list[int] = []

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        self.given = []
        for row in self._sampler:
            self.given.append(int(row))
            yield row


class WatchedBatches(BatchSampler):
    """Packed batches of another sampler, which are remembered: of each batch its bins, of each bin its rows."""

    def __init__(self, sampler: Any) -> None:
        """Nothing was given yet."""
        self._sampler = sampler
        self.batch_size = sampler.batch_size
        self.drop_last = sampler.drop_last
        self.given: list[list[list[int]]] = []

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        self.given = []
        for batch in self._sampler:
            self.given.append([[int(row) for row in bin_] for bin_ in batch])
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Pass the epoch on, by which accelerate lets a sampler shuffle."""
        if hasattr(self._sampler, "set_epoch"):
            self._sampler.set_epoch(epoch)
