"""Step shape: what an optimizer step is made of, from the arguments of Axolotl's trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hbo_plugin.generation import GenerationBatch
from hbo_plugin.packing import WINDOW
from hbo_plugin.training.ahead import AHEAD_OF_WORKERS

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Bins:
    """The shape of a packed batch."""

    capacity: int
    bins_per_batch: int
    window: int

    def __str__(self) -> str:
        return f"{self.bins_per_batch} x {self.capacity:,} tokens"


@dataclass(frozen=True)
class StepShape:
    """What an optimizer step is made of, on all ranks together.

    Attributes:
        micro_batch: rows that the loader takes at once, where they are not packed.
        batches: micro-batches of a step.
        steps: of the whole run.
        bins: the shape of a packed batch; None where rows are not packed.
        ahead: steps that are drawn and not made whenever a step was made, at least: new weights take force after them. Where
            a loader has no workers, accelerate takes the first batch of one step ahead.
        generation: what is generated together; None where rows are trained on as they are.
    """

    micro_batch: int
    batches: int
    steps: int
    bins: Bins | None = None
    ahead: int = 0
    generation: GenerationBatch | None = None

    @classmethod
    def of(cls, args: Any, ranks: int) -> StepShape:
        """The shape that the arguments of Axolotl's trainer ask of so many ranks."""
        rows, batches = args.train_batch_size, args.gradient_accumulation_steps * ranks
        ahead = AHEAD_OF_WORKERS if args.dataloader_num_workers else 0
        if not args.sample_packing:
            generation = GenerationBatch.of(args, ranks) if getattr(args, "num_generations", None) else None
            return cls(rows, batches, args.max_steps, ahead=ahead, generation=generation)
        # With `multipack_real_batches`, attention cannot tell packed rows apart in one long bin: each row is a bin.
        tokens, bins = (args.max_seq_length, rows) if args.multipack_real_batches else (args.max_seq_length * rows, 1)
        # No row waits much longer than for 4 steps; the bound below keeps bins full where a step has few of them.
        window = min(max(4 * bins * batches, WINDOW // 4), WINDOW)
        return cls(rows, batches, args.max_steps, Bins(tokens, bins, window), ahead)

    @property
    def rows(self) -> int:
        """Rows of a step, where they are neither packed nor prompts."""
        return self.micro_batch * self.batches

    @property
    def capacity(self) -> float:
        """Rows of a step, or tokens that its bins can hold; the mean where a generation batch has several steps."""
        if self.generation:
            return self.generation.prompts / self.generation.steps
        return self.rows if self.bins is None else self.batches * self.bins.bins_per_batch * self.bins.capacity

    @property
    def window(self) -> int:
        """Rows that can wait for a bin; none where they are not packed."""
        return 0 if self.bins is None else self.bins.window

    def unpacked(self, rows: Sequence[int]) -> list[list[list[int]]]:
        """The rows in each sequence of each micro-batch, where these rows are a step and not packed."""
        starts = range(0, len(rows), self.micro_batch)
        return [[[row] for row in rows[start : start + self.micro_batch]] for start in starts]

    def __str__(self) -> str:
        if self.generation:
            return str(self.generation)
        return f"{self.rows} rows" if self.bins is None else f"{self.batches} packed batches"
