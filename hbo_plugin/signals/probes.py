"""Signals: the model's state as numbers per dataset and per cell. The only file that runs the model."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hbo_plugin.cells import Cells

PROBE_DOMAIN = 2
"""Second word of the Philox key of the probes: 0 and 1 are the stream's, so that measuring never moves it."""

_IGNORED = -100


def pad(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Collate tokenised rows on the right: `input_ids`, `attention_mask` and `labels`, each int64[rows, longest]."""

    def column(name: str, fill: int) -> torch.Tensor:
        values = [torch.as_tensor(row[name], dtype=torch.int64) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=fill)

    # Any id serves as padding: it is masked, and its label is ignored.
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {
        "input_ids": column("input_ids", 0),
        "attention_mask": (torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        "labels": column("labels", _IGNORED),
    }


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answer of each row.

    Args:
        model: a causal language model.
        batch: what `pad` returns; a label of -100 is no part of the answer.

    Returns:
        The sum over the answer's tokens, in nats, float32[rows], and the number of these tokens, int64[rows].
    """
    device = next(model.parameters()).device
    inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
    labels = batch["labels"][:, 1:].to(device)
    # Without labels: a fused loss would not give the logits, and could not tell the rows apart.
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="none")
    return losses.view(labels.shape).sum(1), (labels != _IGNORED).sum(1)


def by_length(lengths: NDArray[np.int32], tokens: int) -> Iterator[NDArray[np.int64]]:
    """Cut rows into batches of similar length, of at most `tokens` padded tokens or of one row.

    Args:
        lengths: tokens of each row, int32[n].
        tokens: the bound.

    Yields:
        Indices into `lengths`, longest first, so that a batch that does not fit in memory fails at once.
    """
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        count = max(1, tokens // max(1, int(lengths[order[first]])))
        yield order[first : first + count]
        first += count


class Probes:
    """Measures signals in extra passes over a sample of the training set, and leaves no trace in the training."""

    def __init__(self, trainer: Any, cells: Cells, *, gradient_rows: int, forward_rows: int, seed: int) -> None:
        """Draw the sample.

        Args:
            trainer: the Trainer whose model, training set, precision and ranks are used.
            cells: the layout of the training set.
            gradient_rows: rows of a dataset that a gradient norm is measured on.
            forward_rows: rows of a cell that a perplexity ratio is measured on.
            seed: of the run; probes have a domain of their own in it.
        """
        self._trainer = trainer
        self._cells = cells
        self._seed = seed
        self._gradient_rows = gradient_rows
        # The same rows at every update, so that a ratio shows the change of the model and not of the sample.
        rng = self._generator(0)
        samples = [_sample(rng, cells.rows(cell), forward_rows) for cell in range(cells.sizes.size)]
        self._forward = np.concatenate(samples)
        self._initial: NDArray[np.float64] | None = None
        self.seconds = 0.0
        self.dropped = 0

    def _generator(self, step: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._seed, PROBE_DOMAIN], counter=[0, 0, 0, step]))

    def start(self) -> None:
        """Measure what later ratios are relative to; before the first step."""
        with self._timed():
            self._initial = self._mean_losses(self._forward)

    def measure(self, wanted: Sequence[str], step: int) -> dict[str, NDArray[np.float64]]:
        """Measure signals at an optimizer step.

        Args:
            wanted: any of `gradient_norm` and `perplexity_ratio`.
            step: the optimizer step, which chooses the rows of the gradient norms.

        Returns:
            `gradient_norm`: float64[datasets]; `perplexity_ratio`: float64[datasets, levels]; NaN where nothing finite
            was measured.
        """
        measures = {
            "gradient_norm": lambda: self._gradient_norms(step),
            "perplexity_ratio": self._perplexity_ratios,
        }
        with self._timed():
            return {name: measures[name]() for name in wanted}

    def _gradient_norms(self, step: int) -> NDArray[np.float64]:
        """L2 norm of the gradient of the mean loss of a sample of each dataset (HBO, arXiv 2505.12300, section 3.2).

        Each dataset is measured by one rank, since the norm of a mean is not the mean of norms.
        """
        rng = self._generator(step)
        datasets = range(len(self._cells.names))
        samples = [_sample(rng, self._cells.dataset_rows(dataset), self._gradient_rows) for dataset in datasets]
        norms = np.zeros(len(samples))
        model = self._trainer.model
        with self._undisturbed(gradient=True):
            for dataset in datasets[self._trainer.args.process_index :: self._trainer.args.world_size]:
                norms[dataset] = self._gradient_norm(model, samples[dataset])
        norms = self._over_ranks(norms)
        self.dropped += int((~np.isfinite(norms)).sum())
        return np.where(np.isfinite(norms), norms, np.nan)

    def _gradient_norm(self, model: Any, rows: NDArray[np.int64]) -> float:
        total = 0
        for batch in by_length(self._cells.lengths[rows], self._budget):
            losses, tokens = answer_loss(model, pad([self._trainer.train_dataset[int(row)] for row in rows[batch]]))
            losses.sum().backward()
            total += int(tokens.sum())
        squares = [p.grad.detach().double().square().sum().cpu() for p in model.parameters() if p.grad is not None]
        model.zero_grad(set_to_none=True)
        # The mean over tokens, applied after the fact: their number is known only at the end.
        return float(sum(squares)) ** 0.5 / total if total else float("nan")

    def _perplexity_ratios(self) -> NDArray[np.float64]:
        """Geometric mean over a sample of each cell of perplexity now over perplexity at the start.

        HBO (arXiv 2505.12300, section 3.3) takes the arithmetic mean, which a single row can carry away.
        """
        if self._initial is None:
            msg = "a perplexity ratio was asked for before the start was measured"
            raise RuntimeError(msg)
        change = self._mean_losses(self._forward) - self._initial
        cell = self._cells.of(self._forward)
        finite = np.isfinite(change)
        cells = self._cells.sizes.size
        sums = np.bincount(cell[finite], weights=change[finite], minlength=cells)
        counts = np.bincount(cell[finite], minlength=cells)
        self.dropped += int((~finite).sum())
        with np.errstate(invalid="ignore"):
            return np.exp(sums / counts).reshape(self._cells.sizes.shape)

    def _mean_losses(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Mean loss of the answer of each row under the model now, float64[rows]; NaN where there is no answer."""
        sums, tokens = self.losses(self._trainer.train_dataset, rows, self._cells.lengths[rows])
        with np.errstate(invalid="ignore"):
            return sums / tokens

    def losses(
        self, dataset: Any, rows: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Loss of the answer of some rows under the model now; every rank runs its share and gets them all.

        Args:
            dataset: tokenised rows.
            rows: which of them, int64[n].
            lengths: their tokens, int32[n].

        Returns:
            The sum over the answer's tokens in nats, and their number, both float64[n].
        """
        args = self._trainer.args
        mine = np.arange(len(rows))[args.process_index :: args.world_size]
        result = np.zeros((2, len(rows)))
        with self._undisturbed(gradient=False):
            for batch in by_length(lengths[mine], self._budget):
                picked = mine[batch]
                sums, tokens = answer_loss(self._trainer.model, pad([dataset[int(row)] for row in rows[picked]]))
                result[:, picked] = sums.cpu().numpy(), tokens.cpu().numpy()
        total = self._over_ranks(result)
        return total[0], total[1]

    @property
    def _budget(self) -> int:
        """Padded tokens a batch: no more than a micro-batch of the training takes."""
        return int(self._trainer.args.per_device_train_batch_size * self._cells.lengths.max())

    def _over_ranks(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._trainer.args.world_size == 1:
            return values
        total = self._trainer.accelerator.reduce(
            torch.as_tensor(values, device=self._trainer.accelerator.device), reduction="sum"
        )
        return np.asarray(total.cpu().numpy(), dtype=np.float64)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    @contextmanager
    def _undisturbed(self, *, gradient: bool) -> Iterator[None]:
        """Run the model without dropout, and restore generators and modes afterwards."""
        model = self._trainer.model
        modes = [(module, module.training) for module in model.modules()]
        grad = torch.enable_grad() if gradient else torch.no_grad()
        with torch.random.fork_rng(), grad, self._trainer.compute_loss_context_manager():
            # Gradient checkpointing acts in training mode only, and without it a backward pass may not fit.
            model.train(gradient and getattr(model, "is_gradient_checkpointing", False))
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.eval()
            try:
                yield
            finally:
                for module, training in modes:
                    module.training = training

    def state_dict(self) -> dict[str, Any]:
        """JSON-safe."""
        initial = None if self._initial is None else [None if np.isnan(x) else float(x) for x in self._initial]
        return {"initial": initial, "seconds": self.seconds, "dropped": self.dropped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        initial = state["initial"]
        if initial is not None:
            if len(initial) != len(self._forward):
                msg = (
                    f"the checkpoint measured {len(initial)} rows at the start and this run samples {len(self._forward)}: "
                    f"set `hbo.forward_rows` as it was, or start afresh."
                )
                raise ValueError(msg)
            self._initial = np.array([np.nan if x is None else x for x in initial], dtype=np.float64)
        self.seconds = state["seconds"]
        self.dropped = state["dropped"]


def _sample(rng: np.random.Generator, rows: range, count: int) -> NDArray[np.int64]:
    return rows.start + np.sort(rng.choice(len(rows), min(count, len(rows)), replace=False)).astype(np.int64)
