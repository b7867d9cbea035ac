"""The arithmetic that methods share: softmax and moving averages."""

import numpy as np
from numpy.typing import NDArray

# Softmax keeps every logit within this distance of the largest: a weight that reached 0 could never
# come back, and the product of a global and a local weight must not underflow either.
_LOWEST_LOGIT = -300.0


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights proportional to exp(logits): float64[..., arms], all above 0, each last axis sums to 1."""
    odds = np.exp(np.maximum(logits - logits.max(axis=-1, keepdims=True), _LOWEST_LOGIT))
    weights: NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return weights


def moving_average(old: NDArray[np.float64], new: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """Return `decay * old + (1 - decay) * new`, arm by arm: float64[..., arms].

    Where `new` is NaN the old value stays. Where `old` is NaN (never measured) the new one replaces it.
    """
    mixed = np.where(np.isnan(old), new, decay * old + (1 - decay) * new)
    return np.where(np.isnan(new), old, mixed)


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[..., arms] with NaN (never measured) replaced by the mean of the others, of which there is one."""
    return np.where(np.isnan(values), np.nanmean(values, axis=-1, keepdims=True), values)
