"""The stream as prompts for a trainer that generates their answers: each prompt's answers stay together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from hbo_plugin.training.ahead import StepsAhead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hbo_plugin.cells import Cells
    from hbo_plugin.clock import Clock
    from hbo_plugin.generation import GenerationBatch
    from hbo_plugin.training.balancer import Balancer
    from hbo_plugin.training.step_shape import StepShape


class GenerationBatcher:
    """The prompts of one epoch, for `DataLoader(sampler=...)`; ranks and epochs are as in `RowBatcher`.

    A loader is asked for the same batch once for each micro-batch that is trained on its answers, and each prompt stands
    there once for each of them, side by side.
    """

    def __init__(
        self,
        shape: StepShape,
        generation: GenerationBatch,
        balancer: Balancer,
        cells: Cells,
        clock: Clock,
        done: dict[str, Any] | None,
    ) -> None:
        """Draw nothing yet.

        Args:
            shape: of a step.
            generation: of the shape.
            balancer: whose stream is drawn from.
            cells: the layout of the training set; an epoch is as many prompts as it has, in whole generation batches.
            clock: for the time that drawing takes.
            done: where the stream stood; None at its beginning.

        Raises:
            ValueError: it stood inside the steps of a generation batch.
        """
        self._generation, self._balancer, self._clock = generation, balancer, clock
        self._batches = math.ceil(int(cells.sizes.sum()) / generation.prompts)
        self._of_run = shape.steps // generation.steps
        self._ahead = StepsAhead(self._draw, shape.ahead)
        self._left = 0  # generation batches of the epoch
        self.done = done or {"head": 0, "batches": 0, "made": 0}
        if self.done["made"]:
            msg = (
                f"the checkpoint was written after {self.done['made']} of the {generation.steps} steps on the answers of a "
                f"generation batch, which it does not hold; resume from another."
            )
            raise ValueError(msg)
        self.head: int = self.done["head"]

    def __len__(self) -> int:
        return self._batches * self._lines

    @property
    def _lines(self) -> int:
        """What the loader takes for one generation batch."""
        return self._generation.prompts * self._generation.generations * self._generation.repeats

    def __iter__(self) -> Iterator[int]:
        self.head, batches = self.done["head"], self.done["batches"]
        self._ahead.clear()
        skipped = batches % self._batches
        self._left = min(batches - skipped + self._batches, self._of_run) - batches
        for _ in range(skipped * self._lines):  # trained on, and thrown away by a resumed Trainer
            yield 0
        for prompts in self._ahead:
            yield from np.tile(np.repeat(prompts, self._generation.generations), self._generation.repeats).tolist()

    def _draw(self) -> NDArray[np.int64] | None:
        if self._left <= 0:
            return None
        self._left -= 1
        with self._clock("sampling"):
            rows = self._balancer.mixture.fill(self.head, self._generation.prompts)
        self.head += len(rows)
        return rows

    def batches(self) -> list[list[list[int]]]:
        """The prompts whose answers are trained on, as one batch: the trainer shuffles their answers over micro-batches."""
        return [[[row] for row in self._ahead.oldest.tolist()]]

    def finish_step(self) -> NDArray[np.int64]:
        """See `Batcher`; the rows of a generation batch are those of its first step."""
        rows, first = self._ahead.oldest, self.done["made"] == 0
        made = (self.done["made"] + 1) % self._generation.steps
        if made == 0:
            self._ahead.finish()
        head, batches = self.done["head"] + len(rows) * first, self.done["batches"] + first
        self.done = {"head": head, "batches": batches, "made": made}
        return rows if first else rows[:0]
