"""The table of cases: what each proves, in which part it runs, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.gpu.case import Case


@dataclass(frozen=True)
class Entry:
    """One case.

    Attributes:
        what: it is about.
        part: 1 or 2; the seconds of each part's cases are less than ten minutes together.
        seconds: after which it is stopped.
        function: `module:name` in this package. It is imported in the case's own process.
        launched: by a launcher, as one rank on the card and as two on CPUs.
    """

    what: str
    part: int
    seconds: int
    function: str
    launched: bool = False

    def load(self) -> Callable[[Case], None]:
        """The function of the case."""
        module, _, name = self.function.partition(":")
        function: Callable[[Case], None] = getattr(import_module(f"benchmarks.gpu.{module}"), name)
        return function


CASES: Mapping[str, Entry] = {
    "signals": Entry("signals on the card and on the CPU", 1, 90, "signals:run"),
    "memory": Entry("memory, waits and random numbers", 1, 60, "memory:run"),
    "full": Entry("what a step of SmolLM2-135M costs, all of it trained", 1, 190, "overhead:full"),
    "lora": Entry("what a step of Llama 1B costs, with LoRA", 1, 190, "overhead:lora"),
    "collectives": Entry("what ranks tell each other", 1, 50, "collectives:run", launched=True),
    "settings": Entry("settings that people train with", 2, 130, "settings:usual"),
    "kernels": Entry("fused losses, attention and layers", 2, 150, "settings:kernels"),
    "scoring": Entry("how fast rows are scored", 2, 70, "scoring:run"),
    "resume": Entry("killed and resumed; measuring leaves no trace", 2, 130, "resume:run"),
    "features": Entry("row weights, tandem, scalebio, branches", 2, 110, "features:run"),
}
