"""One pass of the model over some rows: batches in, statistics of the answer's tokens out."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

IGNORED = -100
"""Label of a token that is no part of the answer."""
_CHUNK = 1 << 24
"""Logits that are held in float32 at a time, twice: 128 MiB."""


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
        "labels": column("labels", IGNORED),
    }


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


def over_ranks(trainer: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the values of all ranks, float64 of any shape; every rank calls it."""
    if trainer.args.world_size == 1:
        return values
    mine = torch.as_tensor(values, device=trainer.accelerator.device)
    return np.asarray(trainer.accelerator.reduce(mine, reduction="sum").cpu().numpy(), dtype=np.float64)


@torch.no_grad()
def token_statistics(
    logits: torch.Tensor,
    at: torch.Tensor,
    targets: torch.Tensor,
    names: Sequence[str],
    *,
    owners: torch.Tensor | None = None,
    rows: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Statistics of predicted tokens, in one more read of logits that are there.

    Args:
        logits: [positions, vocabulary], of any float type.
        at: which positions, int64[n].
        targets: the tokens to predict there, int64[n].
        names: `loss`, the negative log-likelihood; or `loss` and `entropy`, that of the prediction; in nats.
        owners: the row of each of these tokens, int64[n], where gradients are wanted.
        rows: how many rows there are.

    Returns:
        The statistics, float32[names, n]; and the gradient of each row's summed loss by a bias at the logits, the sum of
        `softmax - onehot` over its answer, float32[rows, vocabulary], of no rows where it is not wanted.
    """
    found = [logits.new_empty((len(names), 0), dtype=torch.float32)]
    gradients = torch.zeros((0 if owners is None else rows, logits.shape[1]), device=logits.device)
    some = max(1, _CHUNK // logits.shape[1])
    for part in torch.arange(len(at), device=at.device).split(some):
        target = targets[part]
        scores = logits.index_select(0, at[part]).float().log_softmax(1)
        statistics = [-scores.gather(1, target[:, None])[:, 0]]
        chances = scores.exp_() if len(names) > 1 or owners is not None else scores
        if "entropy" in names:
            statistics.append(torch.special.entr(chances).sum(1))  # 0 for a token that cannot be
        if owners is not None:
            owner, broken = owners[part], ~statistics[0].isfinite()
            chances[broken] = 0  # in a product, it would break the other rows
            # A product, and not an index_add, whose order of summation a GPU leaves to chance.
            gradients += functional.one_hot(owner, rows).float().T @ chances
            gradients.index_put_((owner, target), gradients.new_tensor(-1.0), accumulate=True)
            gradients[owner[broken]] = float("nan")
        found.append(torch.stack(statistics))
    return torch.cat(found, 1), gradients
