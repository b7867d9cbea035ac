"""Case: the memory that looking at a model takes on the card, how often the host waits, and whose random numbers it uses."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from benchmarks.memory import ROWS, WHAT, peaks, ways

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchmarks.gpu.case import Case

OBSERVED, PASS = 1.03, 2.0
"""The highest memory of an observed step by that of a plain one, and of a pass in bytes a logit."""
WAITS = 3
"""Of the host for the card in a micro-batch that is observed, beside those of a plain one."""


def run(case: Case) -> None:
    """Measure what `python -m benchmarks memory` does, on the card."""
    tokens, vocabulary = (32, 512) if case.small else (1024, 128_256)
    logits = ROWS * tokens * vocabulary
    found = {name: bytes_ / logits for name, bytes_ in peaks(tokens, vocabulary, case.device).items()}
    times = found["observed"] / found["plain"]
    case.expect(
        f"an observed step takes at most {OBSERVED} times the memory of a plain one",
        holds=times <= OBSERVED,
        resources=True,
        times=times,
        plain_bytes_a_logit=found["plain"],
    )
    for name in ("fused", "probe", "gradient_probe", "scoring"):
        case.expect(
            f"{WHAT[name]}: under {PASS:g} bytes a logit",
            holds=found[name] < PASS,
            resources=True,
            bytes_a_logit=found[name],
        )
    made = ways(tokens, vocabulary, case.device)
    with case.attempt("random numbers"):
        _generators(case, made)
    if case.device == "cuda":
        waits: dict[str, float] = {
            name: _waits(made[name]) for name in ("plain", "observed", "fused", "probe", "gradient_probe")
        }
        more = waits["observed"] - waits["plain"]
        case.expect(
            f"the host waits at most {WAITS} times more for an observed micro-batch",
            holds=more <= WAITS,
            resources=False,
            **waits,
        )
    else:
        case.skip("how often the host waits", "needs a card")


def _generators(case: Case, made: dict[str, Callable[[], None]]) -> None:
    """Passes of hbo's own leave every generator as it was."""
    import torch

    before = _states()
    for name in ("probe", "observed", "fused"):
        made[name]()
    same = all(torch.equal(one, other) for one, other in zip(before, _states(), strict=True))
    case.expect("no generator has moved after looking at a model", holds=same)


def _states() -> list[torch.Tensor]:
    import torch

    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]


def _waits(way: Callable[[], None]) -> int:
    """How often the host waits for the card, as CUDA's own debug mode counts it."""
    import torch

    way()  # what is made once
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            way()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in told)
