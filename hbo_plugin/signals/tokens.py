"""Tokens: which row each token of a batch belongs to, and what its prediction was like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from hbo_plugin.signals.padding import IGNORED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_CHUNK = 1 << 24
"""Logits that are held in float32 at a time, twice: 128 MiB."""
_OF_SCALE = 64
"""Tokens whose gradients tell the scale of a loss."""


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


@dataclass(frozen=True)
class Logits:
    """Logits of a batch, read or computed where they are wanted.

    Attributes:
        source: what they are made of, [sequences, tokens, numbers].
        make: makes them of that of some positions: from [n, numbers] to [n, vocabulary], of any float type.
        vocabulary: how many there are at a position.
    """

    source: torch.Tensor
    make: Callable[[torch.Tensor], torch.Tensor]
    vocabulary: int

    @classmethod
    def whole(cls, logits: torch.Tensor) -> Logits:
        """Those that are there, [sequences, tokens, vocabulary]."""
        return cls(logits, lambda picked: picked, logits.shape[2])

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Those of some positions of the batch as one line, int64[n]; [n, vocabulary]."""
        return self.make(self.source.flatten(0, 1).index_select(0, positions))

    def parts(self, at: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Positions, int64[n], in parts whose logits fit in memory together."""
        parts: tuple[torch.Tensor, ...] = at.split(max(1, _CHUNK // self.vocabulary))
        return parts


class Scale:
    """What a loss computation multiplies the loss of each token by, from what its backward pass gives some tokens.

    Measured and not asked for: losses are divided by tokens of a step, of a rank or of a batch, and fused ones show neither
    logits nor gradients by them. A state after which only the head comes gets the gradient of its own token's loss alone.
    """

    def __init__(self, logits: Logits, at: torch.Tensor, targets: torch.Tensor) -> None:
        """Compute gradients of our own, and wait for those that the backward pass gives.

        Args:
            logits: of the batch.
            at: the positions that predict a token, int64[n].
            targets: the tokens to predict, int64[n].
        """
        self.value: torch.Tensor | None = None
        """Float32, a scalar; None until a backward pass went through the batch."""
        every = max(1, len(at) // _OF_SCALE)
        self._at = at[::every]
        with torch.enable_grad():
            picked = logits.source.detach().flatten(0, 1).index_select(0, self._at).requires_grad_()
            loss = functional.cross_entropy(logits.make(picked).float(), targets[::every], reduction="sum")
        (own,) = torch.autograd.grad(loss, picked)
        self._own = own.float()
        logits.source.register_hook(self._passed)

    def _passed(self, gradient: torch.Tensor | None) -> None:
        if gradient is None:  # the loss of a compiled model has another way back
            return
        passed = gradient.flatten(0, 1).index_select(0, self._at).float()
        known = self._own.isfinite() & passed.isfinite()  # a row that is not must not spoil the others
        own = torch.where(known, self._own, 0)
        self.value = (torch.where(known, passed, 0) * own).sum() / own.square().sum()


@dataclass(frozen=True)
class Predictions:
    """The tokens of the answers in a batch, and what their predictions were like.

    Attributes:
        whose: what `owners_of` returned.
        owners: the row of each token, int64[n].
        statistics: of the predictions, by name, float32[n] each; see `token_statistics`.
        scale: what the loss is multiplied by; None where nobody wants to know, or no gradient will come back.
    """

    whose: NDArray[np.int64]
    owners: NDArray[np.int64]
    statistics: Mapping[str, torch.Tensor]
    scale: Scale | None

    @classmethod
    def of(
        cls,
        logits: Logits,
        labels: torch.Tensor,
        whose: NDArray[np.int64],
        names: Sequence[str],
        *,
        scaled: bool = False,
    ) -> Predictions:
        """Look at a batch.

        Args:
            logits: of the batch.
            labels: of the batch, int64[sequences, tokens].
            whose: what `owners_of` returned.
            names: of the statistics.
            scaled: whether the scale of its loss is wanted.
        """
        found, owners, tokens = answers(labels.cpu().numpy(), whose)
        at, targets = (torch.as_tensor(part).to(logits.source.device, non_blocking=True) for part in (found, tokens))
        values = token_statistics(logits, at, targets, names)
        scale = Scale(logits, at, targets) if scaled and logits.source.requires_grad else None
        return cls(whose, owners, dict(zip(names, values, strict=True)), scale)


def answers(
    labels: NDArray[np.int64], whose: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find the predicted tokens of a batch.

    Args:
        labels: of the batch, int64[sequences, tokens].
        whose: what `owners_of` returns.

    Returns:
        The positions that predict a token of an answer, in the batch as one line, int64[n]; the row of each, int64[n];
        and the tokens to predict, int64[n].
    """
    # A token is predicted by the one before it, which belongs to another row where a row begins.
    inside = (whose[:, 1:] >= 0) & (whose[:, 1:] == whose[:, :-1])
    at = np.flatnonzero(np.pad((labels[:, 1:] != IGNORED) & inside, ((0, 0), (0, 1))))
    return at, whose.ravel()[at + 1], labels.ravel()[at + 1]


@torch.no_grad()
def token_statistics(logits: Logits, at: torch.Tensor, targets: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """Statistics of predicted tokens.

    Args:
        logits: of the batch.
        at: which positions, int64[n].
        targets: the tokens to predict there, int64[n].
        names: `loss`, the negative log-likelihood; or `loss` and `entropy`, that of the prediction; in nats.

    Returns:
        float32[names, n].
    """
    found = [torch.empty((len(names), 0), device=at.device)]
    for part, wanted in zip(logits.parts(at), logits.parts(targets), strict=True):
        scores = logits.at(part).float().log_softmax(1)
        statistics = [-scores.gather(1, wanted[:, None])[:, 0]]
        if "entropy" in names:
            # A token that cannot be adds 0, where 0 times its infinite score would be NaN. Half the time of `entr`.
            finite = scores.clamp_(min=torch.finfo(scores.dtype).min)
            statistics.append(-finite.exp().mul_(finite).sum(1))
        found.append(torch.stack(statistics))
    return torch.cat(found, 1)


def row_means(values: NDArray[np.float64], owners: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """The mean of a statistic over the answer of each row.

    Args:
        values: of the predicted tokens, float64[n].
        owners: the row of each, int64[n].
        rows: how many there are.

    Returns:
        float64[rows]; NaN for a row without an answer.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(owners, values, rows) / np.bincount(owners, minlength=rows))
