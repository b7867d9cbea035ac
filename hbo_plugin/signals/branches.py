"""Branches: what each dataset does for the target when the run trains on it for some steps, apart from the run itself."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from hbo_plugin.messages import encodable
from hbo_plugin.methods.base import AS_IT_IS
from hbo_plugin.signals.held_out import row_losses
from hbo_plugin.signals.sources import SignalSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hbo_plugin.signals.context import BranchTrainer, Context

LOG = logging.getLogger(__name__)

FINISHED_FILE = "hbo_branches.json"
"""In the output folder: the losses of branches that were finished, so that a run that is killed between two goes on there."""

_LOSING = 4.0
"""Standard errors above the branches as it is, for each set of the target, from which half a branch is enough."""


class Branches(SignalSource):
    """A copy of the run for each dataset that does not count, and some as it is, each trained for some steps.

    In all of them the datasets that count keep their weights, and what is left goes to the one dataset alone. So they
    draw nearly the same counted rows, from the same position of the stream on, and the optimizer, the schedule and the random
    numbers go on from where the run stands. Those as it is draw other rows of what does not count, and tell what chance does.

    A branch that is clearly worse at its half ends there. The others end at the mean of their weights over the second half
    (arXiv 1803.05407), as the last weights alone are more the noise of single steps.
    """

    def __init__(self, names: Sequence[str], context: Context) -> None:
        """Train nothing yet.

        Args:
            names: `branch_effect`, `branch_error`, `branch_noise`.
            context: the run; it has something to train branches with.
        """
        super().__init__(names, context)
        steering = context.steering
        self._whose = np.full((len(context.target), len(steering.lengths)), fill_value=False)
        for row, name in zip(self._whose, context.target, strict=True):
            row[list(steering.sets[name])] = True

    @property
    def _trainer(self) -> BranchTrainer:
        if self._context.branches is None:
            msg = "this run cannot train branches"
            raise RuntimeError(msg)
        return self._context.branches

    def measure(self, step: int) -> dict[str, NDArray[np.float64]]:
        """Train the branches, and compare the loss of each steering row with the mean of the branches as it is."""
        context, trainer = self._context, self._trainer
        weights = trainer.weights()
        free = np.array([name not in context.counted for name in context.cells.names])
        alone = _alone(weights, free)
        shape = (len(context.cells.names), len(context.target))
        effects, errors, noises = (np.full(shape, np.nan) for _ in range(3))
        finished = _Finished(context, step, weights)
        with trainer.open():
            # No dataset has a name of spaces.
            as_it_is = [
                self._losses(weights, finished, " " * number, number / AS_IT_IS * free) for number in range(AS_IT_IS)
            ]
            base, half = np.mean(as_it_is, axis=0)
            noises[[*alone]] = self._noise([end for end, _ in as_it_is])
            for dataset, branch in alone.items():
                name = context.cells.names[dataset]
                losses, middle = self._losses(branch, finished, name, np.zeros(len(free)), half)
                # A branch that ended at its half is compared with as much of the branches as it is.
                effects[dataset], errors[dataset] = self._compared(losses, half if losses is middle else base)
                self._tell(step, name, effects[dataset], errors[dataset])
        self.dropped += int((~np.isfinite(effects[[*alone]])).sum())
        return {"branch_effect": effects, "branch_error": errors, "branch_noise": noises}

    def _losses(
        self,
        weights: NDArray[np.float64],
        finished: _Finished,
        name: str,
        further: NDArray[np.float64],
        half: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The losses of a branch at its end and at its half, each float64[2, steering rows]: their sums and their tokens.

        It ends there where the half is clearly worse than that of the branches as it is.
        """
        if (found := finished.losses(name)) is not None:
            return found
        trainer = self._trainer
        trainer.start(weights, further)
        trainer.train(trainer.steps // 2)
        middle = row_losses(self._context, self._context.steering)
        end = middle
        if half is None or not self._loses(middle, half):
            trainer.train(trainer.steps - trainer.steps // 2, averaged=True)
            end = row_losses(self._context, self._context.steering)
        finished.add(name, end, middle)
        return end, middle

    def _loses(self, losses: NDArray[np.float64], base: NDArray[np.float64]) -> bool:
        effect, error = self._compared(losses, base)
        return bool((effect > _LOSING * error).all())

    def _compared(
        self, losses: NDArray[np.float64], base: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By how much the loss of each set of the target is above that of a base, and the standard error of that."""
        tokens = self._whose * base[1]
        count, rows = tokens.sum(axis=1), (tokens > 0).sum(axis=1)
        differences = self._whose * (losses[0] - base[0])
        with np.errstate(invalid="ignore", divide="ignore"):
            effect = differences.sum(axis=1) / count
            # Of a ratio of sums over rows: each row's difference from what its tokens make expected.
            squares = np.square(differences - effect[:, None] * tokens).sum(axis=1)
            # Of a single row nothing is known.
            return effect, np.where(rows > 1, np.sqrt(squares * rows / np.maximum(rows - 1, 1)) / count, np.nan)

    def _noise(self, as_it_is: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """The standard deviation of the difference of a branch from the mean of these, float64[sets of the target]."""
        apart = [self._compared(losses, as_it_is[0])[0] for losses in as_it_is]
        return np.asarray(np.std(apart, axis=0, ddof=1) * math.sqrt(1 + 1 / len(as_it_is)))

    def _tell(self, step: int, name: str, effects: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
        if self._context.ranks.rank == 0:
            found = ", ".join(
                f"{target} {effect:+.3f} ± {error:.3f}"
                for target, effect, error in zip(self._context.target, effects, errors, strict=True)
            )
            tqdm.write(encodable(f"hbo: step {step}: a branch with {name}: {found}"))


def _alone(weights: NDArray[np.float64], free: NDArray[np.bool_]) -> dict[int, NDArray[np.float64]]:
    """The weights of a branch for each dataset that does not count and is drawn; all are float64[datasets, levels]."""
    first = np.where(free[:, None], 0.0, weights)
    rest, branches = 1 - first.sum(), {}
    for dataset in np.flatnonzero(free & (weights.sum(axis=1) > 0)).tolist():
        branch = first.copy()
        branch[dataset] = weights[dataset] / weights[dataset].sum() * rest
        branches[dataset] = branch
    return branches


class _Finished:
    """The branches that were finished, in a file."""

    def __init__(self, context: Context, step: int, weights: NDArray[np.float64]) -> None:
        """Read the file, where it has branches from the same moment of the same run."""
        self._context = context
        self._path = Path(context.trainer.args.output_dir) / FINISHED_FILE
        steps = context.branches.steps if context.branches else 0
        # Of the same model on the same rows after the same training, the losses are the same to the last digit.
        losses = row_losses(context, context.steering).ravel().tolist()
        moment = [step, steps, context.seed, *context.cells.fingerprints, *context.target, *weights.ravel(), *losses]
        self._moment = hashlib.blake2b(json.dumps(moment).encode(), digest_size=16).hexdigest()
        self._branches = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        same = isinstance(content, dict) and content.get("moment") == self._moment
        return dict(content["branches"]) if same else {}

    def losses(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """What `add` was given for a branch on the first rank; None where it was not finished."""
        size = len(self._context.steering.lengths)
        found = np.zeros((2, 2, size))
        known = np.zeros(1)
        if self._context.ranks.rank == 0 and name in self._branches:
            found, known = np.array(self._branches[name], np.float64), np.ones(1)
        # One rank may see the file and another not; all must do the same.
        if not self._context.ranks.sum(known)[0]:
            return None
        end, middle = self._context.ranks.sum(found)
        return (middle, middle) if np.array_equal(end, middle) else (end, middle)

    def add(self, name: str, *losses: NDArray[np.float64]) -> None:
        """Keep the losses of a branch; a warning where the disk refuses them."""
        self._branches[name] = [each.tolist() for each in losses]
        if self._context.ranks.rank:
            return
        draft = self._path.with_suffix(".writing")
        try:
            draft.write_text(json.dumps({"moment": self._moment, "branches": self._branches}))
            draft.replace(self._path)
        except OSError as error:
            LOG.warning(
                "hbo: `%s` could not be written (%s); a run that is killed trains the branch again.", self._path, error
            )
