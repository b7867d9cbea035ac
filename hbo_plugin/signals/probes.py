"""Probes: signals measured in extra passes over a sample of rows, which leave no trace in the training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hbo_plugin.cells import Cells
from hbo_plugin.signals.gradients import Gradients, Rows
from hbo_plugin.signals.passes import IGNORED, by_length, forward, over_ranks, pad, token_statistics

PROBE_DOMAIN = 2
"""Second word of the Philox key of the probes: 0 and 1 are the stream's, so that measuring never moves it."""
_BY_FORWARD = ("loss", "entropy", "perplexity_ratio", "similarity")
BY_GRADIENT = ("gradient_norm", "gradient_variance", "gradient_alignment", "look_ahead")
"""Signals that probes measure with a backward pass."""
ON_HELD_OUT = ("held_out_loss", "gradient_alignment")
"""Signals that need held-out rows."""

Passed = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""What `Probes._passes` returns."""


class Probes:
    """Measures signals on a sample of the training set, and losses of held-out rows."""

    def __init__(
        self,
        trainer: Any,
        cells: Cells,
        *,
        gradient_rows: int,
        forward_rows: int,
        seed: int,
        held_out: Any = None,
        held_out_rows: Mapping[str, range] | None = None,
    ) -> None:
        """Draw the sample.

        Args:
            trainer: the Trainer whose model, training set, precision and ranks are used.
            cells: the layout of the training set.
            gradient_rows: rows of a dataset that a gradient is measured on.
            forward_rows: rows of a cell that are measured without gradients.
            seed: of the run; probes have a domain of their own in it.
            held_out: tokenised rows that are not trained on.
            held_out_rows: which of them belong to which dataset.
        """
        self._trainer = trainer
        self._cells = cells
        self._seed = seed
        self._gradient_rows = gradient_rows
        self._held_out = held_out
        self._held_out_rows = held_out_rows or {}
        # The same rows at every update, so that a ratio shows the change of the model and not of the sample.
        rng = self._generator(0)
        samples = [_sample(rng, cells.rows(cell), forward_rows) for cell in range(cells.sizes.size)]
        self._forward = np.concatenate(samples)
        self._initial: NDArray[np.float64] | None = None
        self.dropped = 0

    def _generator(self, step: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[self._seed, PROBE_DOMAIN], counter=[0, 0, 0, step]))

    def start(self) -> None:
        """Measure what later ratios are relative to; before the first step."""
        sums, tokens, _ = self._on_sample(("loss",))
        self._initial = _mean(sums[0], tokens)

    def measure(self, wanted: Sequence[str], step: int) -> dict[str, NDArray[np.float64]]:
        """Measure signals at an optimizer step.

        Args:
            wanted: names in the table of signals.
            step: the optimizer step, which chooses the rows of the gradients.

        Returns:
            Each signal in its shape; NaN where nothing finite was measured.
        """
        signals: dict[str, NDArray[np.float64]] = {}
        if by_forward := [name for name in wanted if name in _BY_FORWARD]:
            signals |= self._by_forward(by_forward)
        if by_gradient := [name for name in wanted if name in BY_GRADIENT]:
            signals |= self._by_gradient(by_gradient, step)
        if "held_out_loss" in wanted:
            losses = self.held_out_losses()
            signals["held_out_loss"] = np.array([losses.get(name, np.nan) for name in self._cells.names])
        return signals

    def _by_forward(self, wanted: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        names = ("loss", "entropy") if "entropy" in wanted else ("loss",)
        similar = "similarity" in wanted
        sums, tokens, states = self._on_sample(names, states=similar)
        signals = {}
        if similar:
            signals["similarity"] = self._similarity(states)
        cell, shape = self._cells.of(self._forward), self._cells.sizes.shape
        finite = np.isfinite(sums).all(0) & (tokens > 0)
        self.dropped += int((~finite).sum())

        def by_cell(values: NDArray[np.float64], of: NDArray[np.bool_]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(cell[of], values[of], self._cells.sizes.size), np.float64).reshape(shape)

        with np.errstate(invalid="ignore"):
            for name, total in zip(names, sums, strict=True):
                if name in wanted:
                    signals[name] = by_cell(total, finite) / by_cell(tokens, finite)
            if "perplexity_ratio" in wanted:
                # HBO (arXiv 2505.12300, section 3.3) takes the arithmetic mean, which a single row can carry away.
                if self._initial is None:
                    msg = "a perplexity ratio was asked for before the start was measured"
                    raise RuntimeError(msg)
                change = _mean(sums[0], tokens) - self._initial
                known = np.isfinite(change)
                signals["perplexity_ratio"] = np.exp(by_cell(change, known) / by_cell(np.ones(len(cell)), known))
        return signals

    def _similarity(self, states: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean cosine between the mean hidden states of a dataset and of each dataset (MoS, arXiv 2406.08811)."""
        dataset = self._cells.of(self._forward) // self._cells.levels
        mean = np.stack([states[dataset == each].mean(0) for each in range(len(self._cells.names))])
        with np.errstate(invalid="ignore"):
            direction = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        similarity: NDArray[np.float64] = (direction @ direction.T).mean(axis=1)
        return similarity

    def _by_gradient(self, wanted: Sequence[str], step: int) -> dict[str, NDArray[np.float64]]:
        """Each dataset is measured by one rank, since the norm of a mean is not the mean of norms."""
        rng = self._generator(step)
        count = len(self._cells.names)
        samples = [_sample(rng, self._cells.dataset_rows(dataset), self._gradient_rows) for dataset in range(count)]
        args = self._trainer.args
        values = np.zeros((len(wanted), count))
        with self._undisturbed(gradient=True):
            gradients = Gradients(self._trainer.model, self._budget)
            reference = self._held_out_direction(gradients, rng) if "gradient_alignment" in wanted else []
            measures: dict[str, Callable[[Rows], float]] = {
                "gradient_norm": gradients.norm,
                "gradient_variance": gradients.variance,
                "gradient_alignment": lambda rows: gradients.alignment(rows, reference),
                "look_ahead": lambda rows: gradients.look_ahead(rows, self._learning_rate),
            }
            for dataset in range(count)[args.process_index :: args.world_size]:
                rows = [self._trainer.train_dataset[int(row)] for row in samples[dataset]]
                values[:, dataset] = [measures[name](rows) for name in wanted]
        values = over_ranks(self._trainer, values)
        self.dropped += int((~np.isfinite(values)).sum())
        return dict(zip(wanted, np.where(np.isfinite(values), values, np.nan), strict=True))

    def _held_out_direction(self, gradients: Gradients, rng: np.random.Generator) -> list[torch.Tensor]:
        samples = [_sample(rng, rows, self._gradient_rows) for rows in self._held_out_rows.values()]
        return gradients.mean_direction([[self._held_out[int(row)] for row in rows] for rows in samples])

    @property
    def _learning_rate(self) -> float:
        return float(self._trainer.optimizer.param_groups[0]["lr"])

    def held_out_losses(self) -> dict[str, float]:
        """Mean loss a token of the held-out rows of each dataset, in nats; empty without held-out rows."""
        if not self._held_out_rows:
            return {}
        lengths = np.fromiter((len(row["input_ids"]) for row in self._held_out), np.int32)
        (sums,), tokens, _ = self._passes(self._held_out, np.arange(len(lengths)), lengths, ("loss",))
        totals = {name: (sums[part].sum(), tokens[part].sum()) for name, part in self._held_out_rows.items()}
        return {name: float(loss / count) if count else float("nan") for name, (loss, count) in totals.items()}

    def _on_sample(self, names: Sequence[str], *, states: bool = False) -> Passed:
        lengths = self._cells.lengths[self._forward]
        return self._passes(self._trainer.train_dataset, self._forward, lengths, names, states=states)

    def _passes(
        self,
        dataset: Any,
        rows: NDArray[np.int64],
        lengths: NDArray[np.int32],
        names: Sequence[str],
        *,
        states: bool = False,
    ) -> Passed:
        """Statistics of the answer of some rows under the model now; every rank runs its share and gets them all.

        Args:
            dataset: tokenised rows.
            rows: which of them, int64[n].
            lengths: tokens of each, int32[n].
            names: of the statistics.
            states: whether hidden states are wanted too.

        Returns:
            The sums over the answer's tokens, float64[names, n]; their number, float64[n]; and the mean of the last
            hidden states over all tokens of the row, float64[n, width], of width 0 if they are not wanted.
        """
        args, model = self._trainer.args, self._trainer.model
        batches = list(by_length(lengths, self._budget))
        width = model.config.get_text_config().hidden_size if states else 0
        result = np.zeros((len(names) + 1 + width, len(rows)))
        with self._undisturbed(gradient=False):
            # All ranks run as many batches, the last of them more than once: ranks that share a sharded model must.
            for first in range(0, len(batches), args.world_size):
                turn = first + args.process_index
                indices = batches[min(turn, len(batches) - 1)]
                batch = pad([dataset[int(row)] for row in rows[indices]])
                output = forward(model, batch, **({"output_hidden_states": True} if states else {}))
                if turn < len(batches):
                    result[: len(names) + 1, indices] = _sums(output.logits, batch["labels"], names)
                    if states:
                        result[len(names) + 1 :, indices] = _pooled(output.hidden_states[-1], batch["attention_mask"])
        result = over_ranks(self._trainer, result)
        return result[: len(names)], result[len(names)], result[len(names) + 1 :].T

    @property
    def _budget(self) -> int:
        """Padded tokens a batch: no more than a micro-batch of the training takes."""
        return int(self._trainer.args.per_device_train_batch_size * self._cells.lengths.max())

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
        return {"initial": initial, "dropped": self.dropped}

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
        self.dropped = state["dropped"]


def _sample(rng: np.random.Generator, rows: range, count: int) -> NDArray[np.int64]:
    return rows.start + np.sort(rng.choice(len(rows), min(count, len(rows)), replace=False)).astype(np.int64)


def _mean(sums: NDArray[np.float64], tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean loss of the answer of each row, float64[rows]; NaN where there is no answer."""
    with np.errstate(invalid="ignore"):
        return sums / tokens


def _sums(logits: torch.Tensor, labels: torch.Tensor, names: Sequence[str]) -> NDArray[np.float64]:
    """Of each row the sums of statistics over its answer, and the number of its tokens; float64[names + 1, rows]."""
    keep = labels[:, 1:] != IGNORED
    line, place = keep.nonzero(as_tuple=True)
    at = (line * labels.shape[1] + place).to(logits.device)
    values, _ = token_statistics(logits.flatten(0, 1), at, labels[line, place + 1].to(logits.device), names)
    sums = [np.bincount(line, weights=statistic, minlength=len(labels)) for statistic in values.double().cpu().numpy()]
    return np.stack([*sums, keep.sum(1).double().numpy()])


def _pooled(states: torch.Tensor, mask: torch.Tensor) -> NDArray[np.float64]:
    """The mean over the tokens of each row, float64[width, rows]."""
    weights = mask.to(states.device, states.dtype)[:, :, None]
    return np.asarray(((states * weights).sum(1) / weights.sum(1)).T.double().cpu().numpy())
