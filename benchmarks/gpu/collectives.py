"""Case: what ranks tell each other goes over NCCL in its own types; one rank is enough to see it refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.gpu.case import Case

LARGE = [1, -(2**62), 2**63 - 1, 0]
"""Digests and positions are as large."""


def run(case: Case) -> None:
    """Let hbo's ranks talk through accelerate: the only one of a card, or two on CPUs."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import gather, reduce
    from torch import distributed

    from hbo_plugin.ranks import Ranks
    from hbo_plugin.signals.gradients import add_over_ranks
    from hbo_plugin.training.rank_check import RankCheck

    state = PartialState(cpu=case.small)
    members, device = state.num_processes, state.device
    # A rank alone would not talk at all, so it is told of another one.
    ranks = Ranks(state.process_index, max(2, members), SimpleNamespace(device=device, reduce=reduce, gather=gather))
    backend = str(state.backend)
    with case.attempt("sums"):
        values = np.random.default_rng(0).normal(size=(5, 7))
        case.expect(
            f"{backend} adds up float64", holds=np.array_equal(ranks.sum(values), members * values), ranks=members
        )
    with case.attempt("gathered numbers"):
        case.expect(f"{backend} gathers int64", holds=ranks.gather(LARGE).tolist() == [LARGE] * members)
    with case.attempt("gradients"):
        torch.manual_seed(0)
        gradients = [torch.randn(300, 50, device=device, dtype=kind) for kind in (torch.float32, torch.bfloat16)]
        wanted = [members * gradient for gradient in gradients]
        add_over_ranks(gradients, ranks)
        same = all(torch.equal(one, other) for one, other in zip(gradients, wanted, strict=True))
        case.expect("gradients of both precisions are added up where they are", holds=same)
    with case.attempt("the check of ranks"):
        check = RankCheck(ranks, ["rows"])
        check.count(np.arange(8))
        check.compare(1, np.ones((2, 2)) / 4, 1 << 40)
        case.expect("ranks are compared", holds=True)
    distributed.destroy_process_group()
