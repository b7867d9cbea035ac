"""Probes: signals measured in extra passes over a sample of rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hbo_plugin.cells import Cells
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.copies import Draw, measure_gains
from hbo_plugin.signals.gradients import Gradients, Rows
from hbo_plugin.signals.padding import fetch
from hbo_plugin.signals.passes import Passed, mean_losses, pass_over, undisturbed
from hbo_plugin.signals.sources import SignalSource

PROBE_DOMAIN = 2
"""Second word of the Philox key of the probes: 0 and 1 are the stream's, so that measuring never moves it."""


class Probes(SignalSource):
    """Measures a sample of the training set, the same rows at every step but for gradients and copies."""

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Draw the sample.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        super().__init__(names, context)
        # The same rows at every update, so that a ratio shows the change of the model and not of the sample.
        self._sample = sample_cells(context)
        self._initial: NDArray[np.float64] | None = None
        """Mean loss of each row of the sample before the first step, float64[rows]."""
        self._every_initial: NDArray[np.float64] | None = None
        """The same of all rows there are, where rows are drawn anew at each update."""

    def begin(self, step: int) -> None:
        """Measure what a perplexity ratio is relative to."""
        if step == 0 and "perplexity_ratio" in self.names:
            self._initial = training_losses(self._context, self._sample)
        if step == 0 and "mean_perplexity_ratio" in self.names:
            self._every_initial = training_losses(self._context, np.arange(len(self._context.cells.lengths)))

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Measure the signals; `step` chooses the rows of the gradients."""
        forward = [name for name in self.names if name in self._BY_PASS]
        backward = [name for name in self.names if name in _BACKWARD]
        copied = [name for name in self.names if name in _BY_COPIES]
        signals = {
            **(self._forward(forward) if forward else {}),
            **(self._backward(backward, step) if backward else {}),
            **(self._by_copies(step) if copied else {}),
            **({"mean_perplexity_ratio": self._mean_ratio(step)} if "mean_perplexity_ratio" in self.names else {}),
        }
        return {name: signals[name] for name in self.names}

    def _pass_over_sample(self, statistics: Sequence[str], *, states: bool = False) -> Passed:
        rows, lengths = self._context.rows, self._context.cells.lengths[self._sample]
        return pass_over(self._context, rows, self._sample, lengths, statistics, states=states)

    def _forward(self, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        statistics = ("loss", "entropy") if "entropy" in names else ("loss",)
        passed = self._pass_over_sample(statistics, states="similarity" in names)
        self.dropped += int((~(np.isfinite(passed.sums).all(0) & (passed.tokens > 0))).sum())
        with np.errstate(invalid="ignore"):
            return {name: self._BY_PASS[name](self, passed) for name in names}

    def _loss(self, passed: Passed) -> NDArray[np.float64]:
        return self._per_token(passed, 0)

    def _entropy(self, passed: Passed) -> NDArray[np.float64]:
        return self._per_token(passed, 1)

    def _per_token(self, passed: Passed, statistic: int) -> NDArray[np.float64]:
        finite = np.isfinite(passed.sums).all(0) & (passed.tokens > 0)
        return self._by_cell(passed.sums[statistic], finite) / self._by_cell(passed.tokens, finite)

    def _by_cell(self, values: NDArray[np.float64], keep: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sums over the rows of each cell, float64[datasets, levels]."""
        cells = self._context.cells
        sums = np.bincount(cells.of(self._sample)[keep], values[keep], cells.sizes.size)
        return np.asarray(sums, np.float64).reshape(cells.sizes.shape)

    def _perplexity_ratio(self, passed: Passed) -> NDArray[np.float64]:
        """HBO (arXiv 2505.12300, section 3.3) takes the arithmetic mean, which a single row can carry away."""
        change = passed.means - _measured(self._initial)
        means = mean_by_cell(self._context.cells, self._sample, change)
        return np.asarray(np.exp(means.reshape(self._context.cells.sizes.shape)))

    def _mean_ratio(self, step: int) -> NDArray[np.float64]:
        """The mean of ratios as the code of HBO takes it, over rows that the step chooses; float64[datasets, levels]."""
        cells, rows = self._context.cells, sample_cells(self._context, step, use=1)
        with np.errstate(over="ignore"):
            ratios = np.exp(training_losses(self._context, rows) - _measured(self._every_initial)[rows])
        self.dropped += int((~np.isfinite(ratios)).sum())
        return mean_by_cell(cells, rows, ratios).reshape(cells.sizes.shape)

    def _similarity(self, passed: Passed) -> NDArray[np.float64]:
        """Mean cosine between the mean hidden states of a dataset and of each dataset (MoS, arXiv 2406.08811)."""
        cells = self._context.cells
        dataset = cells.of(self._sample) // cells.levels
        mean = np.stack([passed.states[dataset == each].mean(0) for each in range(len(cells.names))])
        direction = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        similarity: NDArray[np.float64] = (direction @ direction.T).mean(axis=1)
        return similarity

    _BY_PASS: ClassVar[Mapping[str, Callable[["Probes", Passed], NDArray[np.float64]]]] = {
        "loss": _loss,
        "entropy": _entropy,
        "perplexity_ratio": _perplexity_ratio,
        "similarity": _similarity,
    }
    """How each signal follows from a pass over the sample."""

    def _backward(self, names: Sequence[str], step: int) -> dict[str, NDArray[np.float64]]:
        """Each dataset is measured by one rank, since the norm of a mean is not the mean of norms."""
        context, rng = self._context, generator(self._context, step)
        count = len(context.cells.names)
        samples = [some_of(rng, context.cells.dataset_rows(each), context.gradient_rows) for each in range(count)]
        values = np.zeros((len(names), count))
        with undisturbed(context, gradient=True):
            gradients = Gradients(context.model, context.budget)
            direction = self._held_out_direction(gradients, rng) if "gradient_alignment" in names else []
            for dataset in range(count)[context.ranks.rank :: context.ranks.size]:
                rows = fetch(context.rows, samples[dataset])
                values[:, dataset] = [_BACKWARD[name](gradients, rows, direction, context) for name in names]
        values = context.ranks.sum(values)
        self.dropped += int((~np.isfinite(values)).sum())
        return dict(zip(names, np.where(np.isfinite(values), values, np.nan), strict=True))

    def _held_out_direction(self, gradients: Gradients, rng: np.random.Generator) -> list[torch.Tensor]:
        context = self._context
        steering = context.steering
        samples = {name: some_of(rng, steering.sets[name], context.gradient_rows) for name in context.target}
        return gradients.mean_direction(
            [(fetch(steering.rows, samples[name]), share) for name, share in context.target.items()]
        )

    def _by_copies(self, step: int) -> dict[str, NDArray[np.float64]]:
        """See `measure_gains`.

        The step chooses which rows are compared, since methods average over updates: the errors of the same rows would stay.
        """
        context, cells = self._context, self._context.cells
        rng, sample = generator(context, step, use=3), sample_cells(context, step, use=4)
        gains = measure_gains(context, sample, [_draw(context, rng) for _ in range(context.copy_steps)])
        self.dropped += gains.dropped
        return gains.signals(cells.of(sample) // cells.levels, len(cells.names))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the losses of the start."""
        losses = {"initial": self._initial, "every_initial": self._every_initial}
        return {name: torch.from_numpy(values) for name, values in losses.items() if values is not None}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned; ValueError where the sample is another."""
        if "initial" in tensors:
            initial = tensors["initial"].numpy()
            if initial.shape != self._sample.shape:
                msg = (
                    f"the checkpoint measured {len(initial)} rows at the start, but this run samples {len(self._sample)}; "
                    f"set `hbo.forward_rows` as it was, or start afresh."
                )
                raise ValueError(msg)
            self._initial = initial
        if "every_initial" in tensors:
            self._every_initial = tensors["every_initial"].numpy()


_BACKWARD: Mapping[str, Callable[[Gradients, Rows, list[torch.Tensor], Context], float]] = {
    "gradient_norm": lambda gradients, rows, _direction, _context: gradients.norm(rows),
    "row_gradient_norm": lambda gradients, rows, _direction, _context: gradients.row_norm(rows),
    "gradient_variance": lambda gradients, rows, _direction, _context: gradients.variance(rows),
    "gradient_alignment": lambda gradients, rows, direction, _context: gradients.alignment(rows, direction),
    "look_ahead": lambda gradients, rows, _direction, context: gradients.look_ahead(rows, context.learning_rate),
}
"""How each signal is measured on some rows of a dataset."""

_BY_COPIES = ("copy_gain", "transfer", "transfer_variance")


def training_losses(context: Context, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean loss of the answer of each of these rows of the training set, float64[rows]; NaN where there is no answer."""
    return mean_losses(context, context.rows, rows, context.cells.lengths)


def mean_by_cell(cells: Cells, rows: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the finite values of these rows in each cell, float64[datasets * levels]; NaN where there is none."""
    known, count = np.isfinite(values), cells.sizes.size
    cell = cells.of(rows)[known]
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(cell, values[known], count) / np.bincount(cell, minlength=count))


def _measured(start: NDArray[np.float64] | None) -> NDArray[np.float64]:
    if start is None:
        msg = "a perplexity ratio was asked for before the start was measured"
        raise RuntimeError(msg)
    return start


def sample_cells(context: Context, step: int = 0, use: int = 0) -> NDArray[np.int64]:
    """The rows of each cell that are measured without gradients, int64[rows]; others for another step or use."""
    rng, cells = generator(context, step, use), context.cells
    return np.concatenate([some_of(rng, cells.rows(cell), context.forward_rows) for cell in range(cells.sizes.size)])


def generator(context: Context, step: int, use: int = 0) -> np.random.Generator:
    """Random numbers that no position of the stream has.

    Of `use`, 0 are rows of gradients, 1 of forward passes, 2 of a twin, 3 those that copies train on, 4 those they are compared on,
    5 the held-out rows that influence is of.
    """
    return np.random.Generator(np.random.Philox(key=[context.seed, PROBE_DOMAIN], counter=[0, 0, use, step]))


def some_of(rng: np.random.Generator, rows: range, count: int) -> NDArray[np.int64]:
    """So many of these rows in ascending order, or all of them where there are fewer; int64[n]."""
    return rows.start + np.sort(rng.choice(len(rows), min(count, len(rows)), replace=False)).astype(np.int64)


def _draw(context: Context, rng: np.random.Generator) -> Draw:
    cells, steering = context.cells, context.steering
    shares = context.shares()
    of = rng.choice(len(shares), context.gradient_rows, p=shares)
    sizes = cells.sizes.ravel()[of]
    rows = cells.ends[of] - 1 - (rng.random(len(of)) * sizes).astype(np.int64)
    return Draw(rows, {name: some_of(rng, steering.sets[name], context.gradient_rows) for name in context.target})
