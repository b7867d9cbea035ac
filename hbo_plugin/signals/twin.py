"""Twin: a second copy of what is trained, which learns the held-out rows too, and what that does to each dataset's loss."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hbo_plugin.signals.gradients import add_over_ranks, trained_of
from hbo_plugin.signals.padding import answer_tokens, by_length, fetch, pad
from hbo_plugin.signals.passes import answer_loss, exchanged, undisturbed
from hbo_plugin.signals.probes import generator
from hbo_plugin.signals.sources import Batch, SignalSource
from hbo_plugin.signals.tokens import row_means

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context

LOG = logging.getLogger(__name__)

_DRAWS = 2
"""The use of random numbers that the twin's held-out rows are drawn by; see `generator`."""

# Of the twin's AdamW. Decay and clipping are those of the published code, the rest is usual.
_BETAS, _EPSILON, _DECAY, _CLIP = (0.9, 0.999), 1e-8, 5e-4, 1.0


class Twin(SignalSource):
    """`twin_gap`: the twin's loss minus the model's, row by row, both before a step that they make on the same rows.

    The model u goes on as it would. In one step of `twin_every`, the twin w makes one of its own by AdamW, at the
    learning rate of the run, on

        mean loss per token of the step's rows + (mean loss of held-out rows) / penalty

    with as many held-out rows as the step has, of sets that are drawn by their shares of the target. That is the loss of w
    in ScaleBiO (arXiv 2406.19976) over its penalty, which AdamW cannot tell apart. Dropout is on, as it is for u.

    What is kept is w - u: between its own steps, the twin moves along with the model. With `twin_every` 1 that is the
    published w. With more it is pulled apart and held together at the same rate as that, so many times as slowly, while a
    twin that stood still between its steps would be as much behind as if it had trained on fewer rows.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """The twin is the model.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        super().__init__(names, context)
        self._steps = 0  # that the twin made
        self._lost = False  # not a number any more
        self._apart, self._mean, self._square = (torch.zeros(0) for _ in range(3))
        """The twin minus the model, and the moments of the twin's gradient, float32[numbers that are trained]."""
        self._twin = torch.zeros(0)
        """The twin, in a step of its own, as it was before the model's step; float32[numbers that are trained]."""
        self._rate = 0.0  # learning rate of the step
        self._seen: list[tuple[torch.Tensor, NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        """Of each micro-batch of the step the losses of its tokens, the owners of these, its rows, and their weights."""
        self._gaps = np.zeros((2, len(context.cells.names)))
        """Rows and the sums of their gaps since the last measurement, of all ranks together, float64[2, datasets]."""

    def begin(self, step: int) -> None:
        """Lay the twin where the model is, unless it was loaded."""
        now = self._numbers()
        kept = (self._apart, self._mean, self._square)
        self._apart, self._mean, self._square = (
            part.to(now.device) if len(part) else torch.zeros_like(now) for part in kept
        )

    def observes(self, step: int) -> bool:
        """One step in so many."""
        return not self._lost and step % self._context.twin_every == 0

    def observe(self, batch: Batch) -> None:
        """Keep the losses of the tokens."""
        if batch.predictions is None:
            msg = "the loss computation gave no logits, which a twin is compared by; turn the fused loss off."
            raise RuntimeError(msg)
        if not self._seen:
            self._twin, self._rate = self._numbers() + self._apart, self._context.learning_rate
        losses, owners = batch.predictions.statistics["loss"], batch.predictions.owners
        rows = batch.numbers
        weights = np.ones(len(rows)) if batch.weights is None else batch.weights
        self._seen.append((losses, owners, rows, weights))

    def gather(self) -> None:
        """Make the step of the twin, and add up the gaps before it."""
        context = self._context
        rows, counts = (np.concatenate(parts) for parts in [*zip(*self._seen, strict=True)][2:])
        before = np.concatenate(
            [row_means(losses.double().cpu().numpy(), owners, len(rows)) for losses, owners, rows, _ in self._seen]
        )
        self._seen = []
        examples = fetch(context.rows, rows)
        count, tokens = context.ranks.sum(np.array([len(rows), context.cells.trained[rows].sum()], np.float64))
        held_out, shares = self._draw(int(count))
        weights = np.concatenate([counts / max(tokens, 1), shares / context.penalty])
        losses, gradient = self._pass(examples + held_out, weights)
        self._add_up(rows, losses[: len(rows)] - before)
        norm = float(gradient.norm())
        if not np.isfinite(norm):
            self._lost = True
            LOG.warning(
                "hbo: the gradient of the twin is not a number, so `twin_gap` is not measured any more and the weights "
                "stay as they are from here on; the training goes on. A lower `learning_rate` may keep the twin."
            )
            return
        self._steps += 1
        self._descend(gradient.mul_(min(1.0, _CLIP / (norm + 1e-6))))
        self._apart = self._twin - self._numbers()
        self._twin = torch.zeros(0)

    def _draw(self, count: int) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
        """So many held-out rows, of which this rank gets its part, and what a token of each counts; all of it together counts 1."""
        context, steering = self._context, self._context.steering
        rng = generator(context, self._steps, _DRAWS)
        numbers, shares = [], []
        for name, drawn in zip(context.target, rng.multinomial(count, [*context.target.values()]), strict=True):
            rows = rng.integers(steering.sets[name].start, steering.sets[name].stop, drawn)
            tokens = sum(map(answer_tokens, fetch(steering.rows, rows))) if drawn else 0
            numbers.append(rows)
            shares.append(np.full(drawn, drawn / count / max(tokens, 1)))
        own = slice(context.ranks.rank, None, context.ranks.size)
        mine = np.concatenate(numbers)[own]
        return fetch(steering.rows, mine) if len(mine) else [], np.concatenate(shares)[own]

    def _pass(
        self, rows: list[dict[str, Any]], weights: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], torch.Tensor]:
        """The twin's mean loss per token of each row, and the gradient of the losses of their tokens by these weights.

        Returns:
            float64[rows] of this rank, NaN for a row without an answer; and float32[numbers that are trained] of all ranks.
        """
        context, losses = self._context, np.full(len(rows), np.nan)
        lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
        trained = trained_of(context.model)
        values = self._twin.split([parameter.numel() for parameter in trained])
        with exchanged(trained, values), undisturbed(context, gradient=True, dropout=True):
            for batch in by_length(lengths, context.budget):
                sums, tokens = answer_loss(context.model, pad([rows[index] for index in batch]))
                (sums * torch.as_tensor(weights[batch], dtype=sums.dtype, device=sums.device)).sum().backward()
                losses[batch] = (sums.detach() / tokens).double().cpu().numpy()
            gradient = _flat([torch.zeros_like(p) if p.grad is None else p.grad for p in trained])
            context.model.zero_grad(set_to_none=True)
        add_over_ranks([gradient], context.ranks)
        return losses, gradient

    def _add_up(self, rows: NDArray[np.int64], gaps: NDArray[np.float64]) -> None:
        """Add the gaps of this rank's rows and those of all others to the sums."""
        cells, known = self._context.cells, np.isfinite(gaps)
        datasets, count = cells.of(rows) // cells.levels, self._gaps.shape[1]
        sums = [np.bincount(datasets[known], of, count) for of in (np.ones(known.sum()), gaps[known])]
        dropped = (~known & (cells.trained[rows] > 0)).sum()
        *found, all_dropped = self._context.ranks.sum(np.array([*np.ravel(sums), dropped], np.float64))
        self._gaps += np.reshape(found, self._gaps.shape)
        self.dropped += int(all_dropped)

    def _descend(self, gradient: torch.Tensor) -> None:
        """Make a step of AdamW with the twin."""
        first, second = _BETAS
        self._mean.lerp_(gradient, 1 - first)
        self._square.lerp_(gradient.square_(), 1 - second)
        scale = (self._square / (1 - second**self._steps)).sqrt_().add_(_EPSILON)
        self._twin.mul_(1 - self._rate * _DECAY)
        self._twin.addcdiv_(self._mean, scale, value=-self._rate / (1 - first**self._steps))

    def _numbers(self) -> torch.Tensor:
        """What is trained of the model, float32[numbers]."""
        return _flat([parameter.detach() for parameter in trained_of(self._context.model)])

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """The mean gap of the rows since the last measurement; NaN for a dataset without any, and once the twin is lost."""
        rows, sums = self._gaps
        self._gaps = np.zeros_like(self._gaps)
        if self._lost:  # which was warned of
            return {"twin_gap": np.full(len(rows), np.nan)}
        with np.errstate(invalid="ignore"):
            return {"twin_gap": sums / rows}

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps the twin made, and whether it is lost."""
        return {**super().state_dict(), "steps": self._steps, "lost": self._lost}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        super().load_state_dict(state)
        self._steps, self._lost = state["steps"], state["lost"]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the twin, the moments of its gradient, and the gaps since the last measurement."""
        twin = {"apart": self._apart, "mean": self._mean, "square": self._square}
        return {**{name: part.cpu() for name, part in twin.items()}, "gaps": torch.from_numpy(self._gaps)}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Continue from what `tensors` returned; ValueError where something else is trained."""
        trained = sum(parameter.numel() for parameter in trained_of(self._context.model))
        if len(tensors["apart"]) != trained:
            msg = (
                f"the checkpoint has a twin of {len(tensors['apart'])} numbers, but this run trains {trained}; "
                f"set `lora_r` and the modules of the adapter as they were, or start afresh."
            )
            raise ValueError(msg)
        self._apart, self._mean, self._square = (tensors[name] for name in ("apart", "mean", "square"))
        self._gaps = tensors["gaps"].numpy()


def _flat(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([part.flatten().float().to(parts[0].device) for part in parts])
