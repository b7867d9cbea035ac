"""Pairs: how much better the model holds the chosen answer of a pair than the rejected one, from the training's own pass."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from hbo_plugin import compat
from hbo_plugin.signals.sums import Summing
from hbo_plugin.signals.tokens import Logits, token_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import Context
    from hbo_plugin.signals.sources import Batch


class Pairs(Summing):
    """Adds up the margins of the pairs that are trained on, from one measurement to the next, and for the loggers.

    A margin is a log-odds, in nats, of the chosen answer being the better one: what the training itself compares the
    answers by. The loss of a pair is `-log sigmoid(margin)`. Both are seen in passing, so they are those of the rows that
    the weights chose, under the training's own dropout.
    """

    values = ("margin", "pair_loss")
    looks_at_predictions = False

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Nothing was observed yet.

        Args:
            names: the signals that this source measures in the run.
            context: the run.
        """
        super().__init__(names, context)
        self._margins: Callable[[Batch], torch.Tensor]
        """Gives the margins of the micro-batch that is watched."""
        self._pending: list[tuple[torch.Tensor, NDArray[np.int64]]] = []
        """Margins of micro-batches, and their rows."""

    def observes(self, step: int) -> bool:
        """One step in so many: whole steps, however they are shared out over ranks."""
        return step % self._context.observed_every == 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch one micro-batch."""
        with _MARGINS[self._context.kind.written](self._context.trainer) as self._margins:
            yield

    @torch.no_grad()
    def observe(self, batch: Batch) -> None:
        """Keep the margins of a batch."""
        self._pending.append((self._margins(batch).float(), batch.numbers))

    def gather(self) -> None:
        """Add up what all ranks saw."""
        seen, dropped = self._sums_of(np.empty(0, np.int64), np.empty((len(self.values), 0))), 0
        for margins, rows in self._pending:
            found = margins.double().cpu().numpy()
            finite = np.isfinite(found)
            margin = found[finite]
            seen += self._sums_of(rows[finite], np.stack([margin, np.logaddexp(0, -margin)]))
            dropped += int((~finite).sum())
        self._pending.clear()
        sums = self._context.ranks.sum(np.append(seen, dropped))
        self.dropped += int(sums[-1])
        self._add(sums[:-1].reshape(seen.shape))


@contextmanager
def _of_scores(_: Any) -> Iterator[Callable[[Batch], torch.Tensor]]:
    """A reward model: the score of the chosen answer less that of the rejected one."""

    def margins(batch: Batch) -> torch.Tensor:
        chosen, rejected = batch.outputs["logits"].squeeze(-1).chunk(2)
        return chosen.float() - rejected.float()  # type: ignore[no-any-return]

    yield margins


@contextmanager
def _of_odds(trainer: Any) -> Iterator[Callable[[Batch], torch.Tensor]]:
    """ORPO: the log of the ratio of odds, of which an answer has those of its mean log-probability per token."""
    seen = []

    def look(_: Any, *logps: torch.Tensor) -> None:
        means = (each.detach().float() for each in logps)
        chosen, rejected = (mean - torch.log(-torch.expm1(mean)) for mean in means)
        seen.append(chosen - rejected)

    with compat.watched(trainer, "odds_ratio_loss", look):
        yield lambda _: seen.pop()


@contextmanager
def _of_rewards(trainer: Any) -> Iterator[Callable[[Batch], torch.Tensor]]:
    """SimPO: `rl_beta` times the difference of the mean log-probabilities per token, before `simpo_gamma` is taken off."""
    seen = []

    def look(found: tuple[torch.Tensor, ...], *_: Any) -> None:
        chosen, rejected = found[1:]
        seen.append(chosen - rejected)

    with compat.watched(trainer, "cpo_loss", look):
        yield lambda _: seen.pop()


@contextmanager
def _of_ratios(trainer: Any) -> Iterator[Callable[[Batch], torch.Tensor]]:
    """DPO and IPO: `rl_beta` times the log-probability over the reference's, of the chosen answer less the rejected one."""
    reference: list[torch.Tensor] = []

    def look(_: Any, __: Any, outputs: Any) -> None:
        if not torch.is_grad_enabled():  # the model is its own reference where it has an adapter
            reference.append(outputs.logits)

    def margins(batch: Batch) -> torch.Tensor:
        inputs = batch.inputs
        if "ref_chosen_logps" in inputs:
            before = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
        elif reference:
            before = _of_answers(reference.pop(), inputs)
        else:
            msg = (
                "the trainer ran no reference model that hbo saw; set `precompute_ref_log_probs: true`, or "
                "`hbo.signals: probe` with `method: static`."
            )
            raise RuntimeError(msg)
        chosen, rejected = (_of_answers(batch.outputs["logits"], inputs) - before).chunk(2)
        return trainer.args.beta * (chosen - rejected)  # type: ignore[no-any-return]

    model = trainer.model if trainer.ref_model is None else trainer.ref_model
    handle = model.register_forward_hook(look)
    try:
        yield margins
    finally:
        handle.remove()


def _of_answers(logits: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
    """The log-probability of each answer of a batch, float32[answers]; the sum over its tokens, in an order that is always one."""
    answer = functional.pad(
        inputs["completion_mask"][:, 1:], (0, 1)
    ).bool()  # a token is predicted by the one before it
    at = answer.flatten().nonzero()[:, 0]
    (losses,) = token_statistics(Logits.whole(logits), at, inputs["input_ids"].flatten()[at + 1], ("loss",))
    return torch.zeros(answer.shape, device=losses.device).masked_scatter(answer, -losses).sum(1)


_MARGINS: Mapping[str, Callable[[Any], AbstractContextManager[Callable[[Batch], torch.Tensor]]]] = {
    "rl: dpo": _of_ratios,
    "rl: ipo": _of_ratios,
    "rl: orpo": _of_odds,
    "rl: simpo": _of_rewards,
    "reward_model: true": _of_scores,
}
"""For each kind of training what watches a trainer while open, and gives the margins of a batch that was then run forward."""
