"""Rollouts: signals from the rewards of answers that are generated, which the trainer computes anyway."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from hbo_plugin.signals.sums import Summing

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Rollouts(Summing):
    """Adds up what the answers to each prompt were worth, by cell. Every rank sees the rewards of all."""

    values = ("reward", "reward_variance", "advantage", "no_variance")

    def rewarded(self, rows: NDArray[np.int64], rewards: NDArray[np.float64]) -> None:
        """Add them up."""
        of_prompts, known = statistics(rewards)
        self.dropped += int((~known).sum())
        self._add(self._sums_of(rows[known], of_prompts[:, known]))


def statistics(rewards: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the rewards of each prompt's answers come to.

    The variance is the unbiased one, so that it does not depend on how many answers there are: of rewards of 0 and 1 its
    expectation is p (1 - p), with p the share of answers that are right.

    Args:
        rewards: float64[prompts, answers]; NaN where an answer has none.

    Returns:
        `reward`, `reward_variance`, `advantage` and `no_variance`, float64[4, prompts]; and which prompts have at least two
        answers with a finite reward, without which nothing is known, bool[prompts].
    """
    rewards = np.where(np.isfinite(rewards), rewards, np.nan)
    known = (~np.isnan(rewards)).sum(axis=1) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of prompts that are not known
        mean, variance = np.nanmean(rewards, axis=1), np.nanvar(rewards, axis=1, ddof=1)
        advantage = np.nanmean(np.abs(rewards - mean[:, None]), axis=1)
        same = np.nanmax(rewards, axis=1) == np.nanmin(rewards, axis=1)
    return np.stack([mean, variance, advantage, same.astype(np.float64)]), known
