"""Tokens: which row each token of a batch belongs to, and what its prediction was like."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hbo_plugin.signals.padding import IGNORED

_CHUNK = 1 << 24
"""Logits that are held in float32 at a time, twice: 128 MiB."""


def owners_of(
    shape: tuple[int, int], sequences: Sequence[Sequence[int]], lengths: NDArray[np.int32], *, left: bool
) -> NDArray[np.int64]:
    """The row that each token of a batch belongs to, counted in the order of the batch, -1 for padding between rows.

    Args:
        shape: sequences and tokens of the batch.
        sequences: the rows in each, one after the other.
        lengths: tokens of every row, int32[rows].
        left: whether packed sequences are padded on the left.

    Returns:
        int64[sequences, tokens].
    """
    if shape[0] == 1:  # `batch_flattening` makes one line of the rows of a batch
        sequences = [[row for sequence in sequences for row in sequence]]
    owners, number = np.full(shape, -1), 0
    for line, rows in zip(owners, sequences, strict=True):
        if len(rows) == 1:  # on whichever side it is padded
            line[:] = number
        else:
            found = np.repeat(np.arange(number, number + len(rows)), lengths[list(rows)])
            line[len(line) - len(found) if left else 0 :][: len(found)] = found
        number += len(rows)
    return owners


def answers(labels: torch.Tensor, owners: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the predicted tokens of a batch.

    Args:
        labels: of the batch, int64[sequences, tokens].
        owners: what `owners_of` returns.

    Returns:
        The positions that predict a token of an answer, in the batch as one line, int64[n]; the row of each, int64[n];
        and the tokens to predict, int64[n].
    """
    found = torch.as_tensor(owners, device=labels.device)
    # A token is predicted by the one before it, which belongs to another row where a row begins.
    inside = (found[:, 1:] >= 0) & (found[:, 1:] == found[:, :-1])
    at = functional.pad((labels[:, 1:] != IGNORED) & inside, (0, 1)).flatten().nonzero()[:, 0]
    return at, found.flatten()[at + 1], labels.flatten()[at + 1]


@torch.no_grad()
def token_statistics(
    logits: torch.Tensor, at: torch.Tensor, targets: torch.Tensor, names: Sequence[str]
) -> torch.Tensor:
    """Statistics of predicted tokens, in one more read of logits that are there.

    Args:
        logits: [positions, vocabulary], of any float type.
        at: which positions, int64[n].
        targets: the tokens to predict there, int64[n].
        names: `loss`, the negative log-likelihood; or `loss` and `entropy`, that of the prediction; in nats.

    Returns:
        float32[names, n].
    """
    found = [logits.new_empty((len(names), 0), dtype=torch.float32)]
    some = max(1, _CHUNK // logits.shape[1])
    for part in torch.arange(len(at), device=at.device).split(some):
        scores = logits.index_select(0, at[part]).float().log_softmax(1)
        statistics = [-scores.gather(1, targets[part][:, None])[:, 0]]
        if "entropy" in names:
            # A token that cannot be adds 0, where 0 times its infinite score would be NaN. Half the time of `entr`.
            finite = scores.clamp_(min=torch.finfo(scores.dtype).min)
            statistics.append(-finite.exp().mul_(finite).sum(1))
        found.append(torch.stack(statistics))
    return torch.cat(found, 1)


def row_means(values: torch.Tensor, owners: torch.Tensor, rows: int) -> NDArray[np.float64]:
    """The mean of each statistic over the answer of each row.

    Args:
        values: of the predicted tokens, float32[statistics, n].
        owners: the row of each, int64[n].
        rows: how many there are.

    Returns:
        float64[statistics, rows]; NaN for a row without an answer.
    """
    owner = owners.cpu().numpy()
    sums = [np.bincount(owner, statistic, rows) for statistic in values.double().cpu().numpy()]
    with np.errstate(invalid="ignore"):
        return np.stack(sums) / np.bincount(owner, minlength=rows)


def scale_of(gradient: torch.Tensor, at: torch.Tensor, targets: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
    """What a loss computation multiplied the loss of each token by, from what its backward pass gave the logits.

    The gradient of a token's loss by the logit of that token is its probability - 1.

    Args:
        gradient: by the logits, [sequences, tokens, vocabulary].
        at: the positions that predict a token of an answer, in the batch as one line, int64[n].
        targets: the tokens to predict there, int64[n].
        losses: of these tokens, float32[n].

    Returns:
        float32, a scalar.
    """
    passed, own = gradient.flatten(0, 1)[at, targets].float(), torch.expm1(-losses)
    known = own.isfinite()  # a row that is not must not spoil the others
    return torch.where(known, passed, 0).sum() / torch.where(known, own, 0).sum()
