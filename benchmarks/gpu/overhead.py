"""Cases: what hbo adds to a step of a full fine-tuning and of a LoRA, and whether its own clock says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.gpu.runs import LORA, configured, train

if TYPE_CHECKING:
    from benchmarks.gpu.case import Case

REUSE = 0.05
"""Share of a step that signals from training batches may add."""
OFF = "without hbo, no workers"
WORKERS: dict[str, Any] = {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}


def full(case: Case) -> None:
    """SmolLM2-135M, all of it trained."""
    _overhead(case, "smollm2", 2 if case.small else 12)


def lora(case: Case) -> None:
    """Llama 3.2 1B, with an adapter; its logits are many, so that fewer rows fit beside them."""
    _overhead(case, "llama-1b", 2 if case.small else 8, **LORA, micro_batch_size=2)


def _overhead(case: Case, model: str, every: int, **changes: Any) -> None:
    """The same run five ways, with an update every so many steps; a run of 100 steps or more between them pays less."""
    measured = {"update_every": every, "levels": 2}
    ways: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
        "without hbo": (None, {}),
        OFF: (None, WORKERS),
        "fixed shares": ({"method": "static", "prior": "proportional", "levels": 2}, {}),
        "reuse": ({**measured, "signals": "reuse"}, {}),
        "probe": ({**measured, "signals": "probe"}, {}),
    }
    found: dict[str, tuple[float, float, int]] = {}
    for way, (block, more) in ways.items():
        with case.attempt(way):
            name = f"{case.name}-{way.replace(' ', '-')}"
            # The last step has no update.
            config = configured(case, name, model, block, max_steps=4 * every + 1, **changes, **more)
            run = train(config)
            step, clock = run.stretch(every)
            found[way] = step, clock, run.peak
            case.show(
                way, step_ms=step * 1e3, hbo_clock_ms=clock * 1e3, peak_GB=run.peak / 1e9, last_loss=run.losses[-1]
            )
    if {OFF, "reuse"} <= found.keys():
        _compare(case, found[OFF], found["reuse"])


def _compare(case: Case, off: tuple[float, float, int], reuse: tuple[float, float, int]) -> None:
    (without, _, plain), (step, clock, peak) = off, reuse
    added = step - without
    case.expect(
        f"reuse adds under {REUSE:.0%} to a step", holds=added / without < REUSE, resources=True, share=added / without
    )
    case.expect(
        "hbo's own clock is within a half of what reuse adds, or 2 ms",
        holds=abs(clock - added) < max(2e-3, abs(added) / 2),
        resources=True,
        clock_ms=clock * 1e3,
        added_ms=added * 1e3,
    )
    case.expect(
        "reuse takes at most 1.03 times the memory",
        holds=peak <= 1.03 * plain,
        resources=True,
        times=peak / max(plain, 1),
    )
