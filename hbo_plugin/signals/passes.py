"""Passes of the model over some rows: batches in, statistics of the answer's tokens out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hbo_plugin.devices import own_devices
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.head import Head
from hbo_plugin.signals.padding import IGNORED, by_length, fetch, pad
from hbo_plugin.signals.tokens import Predictions, answers


def forward(model: Any, batch: dict[str, torch.Tensor], look: Callable[[Head, torch.Tensor], None]) -> None:
    """Run the model over a batch, on its own device.

    Args:
        model: a causal language model.
        batch: what `pad` returns.
        look: gets the model's head and its last hidden states, [rows, tokens, width].
    """
    head, device = Head(model), next(model.parameters()).device
    # Without labels: the loss would be of the batch as a whole.
    inputs = {name: batch[name].to(device, non_blocking=True) for name in ("input_ids", "attention_mask")}
    with head.watching(partial(look, head)):
        model(**inputs, use_cache=False, **head.options)


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answer of each row.

    Args:
        model: a causal language model.
        batch: what `pad` returns.

    Returns:
        The sum over the answer's tokens, in nats, float32[rows], and the number of these tokens, int64[rows].
    """
    labels, found = batch["labels"], []
    at, _, targets = map(torch.from_numpy, answers(labels.numpy(), _alone(labels)))

    def look(head: Head, states: torch.Tensor) -> None:
        logits = head.of(states)

        def losses(part: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(logits.at(part).float(), wanted, reduction="none")

        there, tokens = (part.to(states.device, non_blocking=True) for part in (at, targets))
        parts = zip(logits.parts(there), logits.parts(tokens), strict=True)
        # A backward pass computes the logits of one part after the other again, which it could not hold all at once.
        each = [checkpoint(losses, *part, use_reentrant=False) for part in parts]
        line = torch.zeros(labels.numel(), device=states.device)
        found.append(line.index_copy(0, there, torch.cat([line[:0], *each])).view(labels.shape).sum(1))

    forward(model, batch, look)
    return found[0], (labels[:, 1:] != IGNORED).sum(1).to(found[0].device, non_blocking=True)


def _alone(labels: torch.Tensor) -> NDArray[np.int64]:
    """Whose each token is where each sequence is a row, int64[rows, tokens]; see `owners_of`."""
    return np.broadcast_to(np.arange(len(labels))[:, None], tuple(labels.shape))


@dataclass(frozen=True)
class Passed:
    """What a pass over rows gave, the same on every rank.

    Attributes:
        sums: of each statistic over the tokens of each row's answer, float64[statistics, rows].
        tokens: of each row's answer, float64[rows].
        states: mean of the last hidden states over all tokens of a row, float64[rows, width]; width 0 if not wanted.
    """

    sums: NDArray[np.float64]
    tokens: NDArray[np.float64]
    states: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float64]:
        """Of the first statistic over the tokens of each row's answer, float64[rows]; NaN where there is no answer."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.sums[0] / self.tokens)


def pass_over(
    context: Context,
    dataset: Any,
    rows: NDArray[np.int64],
    lengths: NDArray[np.int32],
    names: Sequence[str],
    *,
    states: bool = False,
) -> Passed:
    """Run the model forward over some rows; every rank runs its share.

    Args:
        context: the run.
        dataset: tokenised rows.
        rows: which of them, int64[n].
        lengths: tokens of each, int32[n].
        names: of the statistics, as in `token_statistics`.
        states: whether hidden states are wanted too.
    """
    ranks, model = context.ranks, context.model
    batches = list(by_length(lengths, context.budget))
    width = model.config.get_text_config().hidden_size if states else 0
    result = np.zeros((len(names) + 1 + width, len(rows)))
    with undisturbed(context, gradient=False):
        # All ranks run as many batches, some the last one more than once: ranks that share a sharded model must.
        for first in range(0, len(batches), ranks.size):
            turn = first + ranks.rank
            indices = batches[min(turn, len(batches) - 1)]
            batch = pad(fetch(dataset, rows[indices]))
            found = _look(model, batch, names, states=states)
            if turn < len(batches):
                result[:, indices] = found
    result = ranks.sum(result)
    return Passed(result[: len(names)], result[len(names)], result[len(names) + 1 :].T)


def mean_losses(
    context: Context, dataset: Any, rows: NDArray[np.int64], lengths: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Mean loss of the answer of each of these rows, float64[rows]; NaN where there is no answer.

    Args:
        context: the run.
        dataset: tokenised rows.
        rows: which of them, int64[n].
        lengths: tokens of each row of the dataset, int32.
    """
    return pass_over(context, dataset, rows, lengths[rows], ("loss",)).means


@contextmanager
def undisturbed(context: Context, *, gradient: bool, dropout: bool = False) -> Iterator[None]:
    """Run the model while open; generators and modes are as before afterwards.

    Args:
        context: the run.
        gradient: whether there will be a backward pass.
        dropout: keep the modes that the training has, and with them its dropout.
    """
    model = context.model
    modes = [(module, module.training) for module in model.modules()]
    # A layer that is checkpointed may itself drop numbers, by a rate that it keeps.
    rates = [
        (module, name, rate)
        for module in model.modules()
        for name, rate in vars(module).items()
        if "drop" in name and isinstance(rate, float)
    ]
    grad = torch.enable_grad() if gradient else torch.no_grad()
    with torch.random.fork_rng(own_devices(model)), grad, context.precision():
        if not dropout:
            # Gradient checkpointing acts in training mode only, and without it a backward pass may not fit. Whatever
            # else acts in that mode is off: dropout of any kind, also in attention, and the noise of NEFTune.
            for module in model.modules():
                module.training = gradient and getattr(module, "gradient_checkpointing", False) is True
            for module, name, _ in rates:
                setattr(module, name, 0.0)
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for module, name, rate in rates:
                setattr(module, name, rate)


@contextmanager
def exchanged(parameters: Sequence[torch.nn.Parameter], values: Iterable[torch.Tensor]) -> Iterator[None]:
    """Give a model other numbers while open; its own are not copied, and so are the same afterwards.

    Args:
        parameters: of the model.
        values: the numbers of each, of any float type and on any device.
    """
    own = [parameter.data for parameter in parameters]
    try:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data = value.view_as(parameter).to(parameter)
        yield
    finally:
        for parameter, data in zip(parameters, own, strict=True):
            parameter.data = data


def _look(model: Any, batch: dict[str, torch.Tensor], names: Sequence[str], *, states: bool) -> NDArray[np.float64]:
    """Of each row the sums of statistics over its answer, the number of its tokens, and the mean of its states if wanted.

    Returns:
        float64[names + 1 + width, rows].
    """
    labels, found = batch["labels"], list[NDArray[np.float64]]()

    def look(head: Head, last: torch.Tensor) -> None:
        predictions = Predictions.of(head.of(last), labels, _alone(labels), names)
        values = torch.stack([predictions.statistics[name] for name in names]).double().cpu().numpy()
        every = np.concatenate([values, np.ones((1, len(predictions.owners)))])
        found.extend(np.asarray(np.bincount(predictions.owners, each, len(labels)), np.float64) for each in every)
        if states:
            found.extend(_pooled(last, batch["attention_mask"]))

    forward(model, batch, look)
    return np.stack(found)


def _pooled(states: torch.Tensor, mask: torch.Tensor) -> NDArray[np.float64]:
    """The mean over the tokens of each row, float64[width, rows]."""
    weights = mask.to(states.device, states.dtype)[:, :, None]
    return np.asarray(((states * weights).sum(1) / weights.sum(1)).T.double().cpu().numpy())
