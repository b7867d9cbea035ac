"""A run of many ranks, of which this machine plays one at a time: the run's own parts, without a model and a network."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.data_loader import BatchSamplerShard, SkipBatchSampler
from torch.utils.data import BatchSampler

from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.clock import Clock
from hbo_plugin.ranks import Ranks
from hbo_plugin.signals.context import Context, HeldOutRows
from hbo_plugin.signals.reuse import Reuse
from hbo_plugin.signals.table import SIGNALS
from hbo_plugin.trace import TRACE_FILE
from hbo_plugin.training import checkpoint
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.batchers import Batcher, make_batcher
from hbo_plugin.training.journal import Journal
from hbo_plugin.training.overfitting import Overfitting
from hbo_plugin.training.rank_check import RankCheck
from hbo_plugin.training.step_shape import StepShape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LEVELS = 4
MICRO_BATCH = 8
SEQUENCE_LEN = 512


class Wire:
    """What ranks talk through, where all of them have what this one has; it counts what this one gets."""

    device = "cpu"

    def __init__(self, ranks: int) -> None:
        """Nothing was said yet."""
        self._ranks = ranks
        self.received = 0
        """Bytes."""

    def reduce(self, own: Any, reduction: str) -> Any:
        """The sum over ranks."""
        del reduction
        self.received += own.nbytes
        return own * self._ranks

    def gather(self, own: Any) -> Any:
        """The rows of all ranks."""
        found = own.repeat(self._ranks, 1)
        self.received += found.nbytes
        return found


def cells_of(rows: int, cells: int, lengths: NDArray[np.int32]) -> Cells:
    """Cells of equal size, four levels a dataset; `lengths` are those of the rows, int32[rows]."""
    sizes = np.full(cells, rows // cells, np.int64)
    sizes[0] += rows - sizes.sum()
    datasets = cells // LEVELS
    names = tuple(f"dataset{number}" for number in range(datasets))
    return Cells(names, sizes.reshape(datasets, LEVELS), lengths, lengths, ("0" * 32,) * datasets)


class PlayedRun:
    """A run's parts, which `checkpoint` takes for a run. Its method gives every cell new weights at each update."""

    def __init__(self, cells: Cells, ranks: int, steps: int, folder: Path, *, packed: bool) -> None:
        """Draw nothing yet.

        Args:
            cells: the layout of the training set.
            ranks: how many there are.
            steps: of the whole run.
            folder: for the trace.
            packed: whether rows are packed, into bins that hold as many tokens as a micro-batch of the longest rows.
        """
        args = SimpleNamespace(
            train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=1,
            dataloader_num_workers=0,
            max_steps=steps,
            sample_packing=packed,
            max_seq_length=SEQUENCE_LEN,
            multipack_real_batches=False,
        )
        self.cells, self.ranks, self.wire = cells, ranks, Wire(ranks)
        self._folder = folder
        self.shape, self.clock = StepShape.of(args, ranks), Clock()
        config = HBOConfig(method="random", max_epochs=float("inf"))
        method = config.make_method(cells.sizes, cells.names, seed=0, batch=MICRO_BATCH * ranks)
        self._signals = {
            name: np.ones(cells.sizes.shape if SIGNALS[name].per_cell else cells.sizes.shape[:1])
            for name in method.signals
        }
        self.balancer = Balancer(
            cells, config, method, seed=0, steps=steps, capacity=self.shape.capacity, window=self.shape.window
        )
        data: Any = SimpleNamespace(
            metric_names={name: name for name in cells.names},
            target={},
            tied={},
            entries={},
            origins=None,
            judging=HeldOutRows(),
        )
        self.journal = Journal(folder, self.balancer, self.shape, self.clock, data, writes=True)
        connected = Ranks(0, ranks, self.wire)
        self.sources = {"reuse": Reuse(method.signals, Context(None, cells, connected))}
        self.overfitting, self.watching = Overfitting({}), SimpleNamespace(weighing=None)
        self._check = RankCheck(connected, cells.fingerprints)
        self.done: dict[str, Any] | None = None
        self._step = 0
        self._renew()

    def _renew(self) -> None:
        self.batcher: Batcher = make_batcher(self.shape, self.balancer, self.cells, self.clock, self.done)

    def go_to(self, head: int) -> None:
        """Be where so many rows were trained on, which are not packed."""
        self.done = {"head": head}
        self._renew()

    def batches(self, rank: int, skipped: int = 0) -> Iterator[Any]:
        """The micro-batches of a rank, of which it makes a step with each, after those that a resumed Trainer skips."""
        batcher: Any = self.batcher
        whole = batcher if self.shape.bins else BatchSampler(batcher, MICRO_BATCH, drop_last=True)
        return iter(SkipBatchSampler(BatchSamplerShard(whole, self.ranks, rank), skipped))

    def steps(self, rank: int) -> Iterator[int]:
        """Rows on all ranks of each step that a rank makes from here to the end of the epoch."""
        for _ in self.batches(rank):
            yield self.finish_step(rank)

    def finish_step(self, rank: int) -> int:
        """Look at the batch as the sources of signals do, and end the step; return its rows on all ranks."""
        _ = self.batcher.batches()[rank]
        rows = self.batcher.finish_step()
        self.done = self.batcher.done
        self.balancer.count(rows)
        self._check.count(rows)
        self._step += 1
        return len(rows)

    def update(self, head: int) -> None:
        """Put new weights in force at a position."""
        self.balancer.update(self._signals, head)

    def compare(self) -> None:
        """Compare the ranks, as at each update."""
        self._check.compare(self._step, self.balancer.weights(), self.batcher.head)

    def add_up(self) -> None:
        """Add up what all ranks saw of a step."""
        self.sources["reuse"].gather()

    def record(self) -> int:
        """Write an update into the trace; return its bytes."""
        path, before = self._folder / TRACE_FILE, (self.balancer.weights(), self.balancer.capped)
        path.unlink(missing_ok=True)
        with redirect_stdout(io.StringIO()):
            self.journal.update(self._step, self.batcher.head, self._signals, before, {})
        return path.stat().st_size

    def save(self, folder: Path) -> None:
        """Write the files of a checkpoint that are hbo's, and an empty one of the Trainer's."""
        run: Any = self
        checkpoint.save(run, folder)
        (folder / "trainer_state.json").write_text("{}")

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint."""
        run: Any = self
        checkpoint.load(run, folder)
        self._renew()
