"""Passes of the model over some rows: batches in, statistics of the answer's tokens out."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hbo_plugin.devices import own_devices
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.padding import IGNORED, by_length, fetch, pad
from hbo_plugin.signals.tokens import token_statistics


def forward(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> Any:
    """The model's output on what `pad` returns, on its own device."""
    device = next(model.parameters()).device
    # Without labels: a fused loss would not give the logits, and could not tell the rows apart.
    inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
    return model(**inputs, use_cache=False, **options)


def answer_loss(model: Any, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Negative log-likelihood of the answer of each row.

    Args:
        model: a causal language model.
        batch: what `pad` returns.

    Returns:
        The sum over the answer's tokens, in nats, float32[rows], and the number of these tokens, int64[rows].
    """
    logits = forward(model, batch).logits[:, :-1].float()
    labels = batch["labels"][:, 1:].to(logits.device)
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape).sum(1), (labels != IGNORED).sum(1)


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
            output = forward(model, batch, **({"output_hidden_states": True} if states else {}))
            if turn < len(batches):
                result[: len(names) + 1, indices] = _sums(output.logits, batch["labels"], names)
                if states:
                    result[len(names) + 1 :, indices] = _pooled(output.hidden_states[-1], batch["attention_mask"])
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


def _sums(logits: torch.Tensor, labels: torch.Tensor, names: Sequence[str]) -> NDArray[np.float64]:
    """Of each row the sums of statistics over its answer, and the number of its tokens; float64[names + 1, rows]."""
    keep = labels[:, 1:] != IGNORED
    row, place = keep.nonzero(as_tuple=True)
    at = (row * labels.shape[1] + place).to(logits.device)
    values = token_statistics(logits.flatten(0, 1), at, labels[row, place + 1].to(logits.device), names)
    sums = [np.bincount(row, weights=statistic, minlength=len(labels)) for statistic in values.double().cpu().numpy()]
    return np.stack([*sums, keep.sum(1).double().numpy()])


def _pooled(states: torch.Tensor, mask: torch.Tensor) -> NDArray[np.float64]:
    """The mean over the tokens of each row, float64[width, rows]."""
    weights = mask.to(states.device, states.dtype)[:, :, None]
    return np.asarray(((states * weights).sum(1) / weights.sum(1)).T.double().cpu().numpy())
