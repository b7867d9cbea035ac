"""The balancer: a method and the stream it steers, with what was trained on so far. Knows no torch and no Axolotl."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin._sampler import MixtureSampler
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.messages import listed
from hbo_plugin.methods import Method
from hbo_plugin.methods.base import FollowsTime, check_weights
from hbo_plugin.training.caps import cap_weights
from hbo_plugin.training.changes import compare

_TRIES = 20
"""How often the cap is lowered until the stream has no row too many; two or three do."""


class Balancer:
    """Moves the weights of the stream, and counts what it gave."""

    def __init__(
        self,
        cells: Cells,
        config: HBOConfig,
        method: Method,
        *,
        seed: int,
        steps: int,
        capacity: float,
        window: int = 0,
        watched: Collection[str] = (),
    ) -> None:
        """Start at the method's first weights.

        Args:
            cells: the layout of the training set.
            config: the `hbo:` block.
            method: new; the balancer moves it.
            seed: of the stream.
            steps: of the whole run.
            capacity: rows of a step, for the repetition cap; or tokens, where rows are packed.
            window: rows that can wait for a bin, where they are packed; else 0.
            watched: datasets that have no cap until they are stopped.
        """
        self.cells = cells
        self._config = config
        self._sizes = cells.sizes.ravel()
        self._steps, self._capacity, self._window = steps, capacity, window
        self._cost = cells.mean_units("token" if window else "row")
        """What a row of each cell takes of a step, float64[datasets * levels]."""
        self.average_epochs = steps * capacity / float(self._sizes @ self._cost)
        """How often the run goes through its whole mixture."""
        laps = np.repeat(config.epochs_of(cells.names, self.average_epochs, watched), cells.levels)
        self._allowance = np.where(self._sizes > 0, laps, 1) * self._sizes
        """Rows that a cell may give in the run, float64[datasets * levels]."""
        self.unit = config.unit
        self._unit = cells.mean_units(config.unit)
        """How many a row of each cell has of what weights are shares of, float64[datasets * levels]."""
        self._seed = seed
        self.method_name = config.method
        self.method = method
        self.rows_trained = np.zeros(self._sizes.size, np.int64)
        """Rows trained on, int64[datasets * levels]."""
        self.tokens = np.zeros(self._sizes.size, np.int64)
        """Tokens of these rows, int64[datasets * levels]."""
        self.trained_tokens = np.zeros(self._sizes.size, np.int64)
        """Of these, those that the model learns to predict, int64[datasets * levels]."""
        self.capped: NDArray[np.bool_] = np.zeros(self._sizes.size, np.bool_)
        """Cells whose weight the repetition cap lowers, bool[datasets * levels]."""
        self.used_up = False
        """Whether the repetition cap leaves nothing to draw, so that the weights are those of the method again."""
        self.changed: list[str] = []
        """Keys of the block whose values are not those of the checkpoint that the run resumed from."""
        self.holds_until = steps
        """The step until which nothing but an update changes the weights."""
        self._in_force_from = 0
        self._drawn = np.zeros(self._sizes.size, np.int64)
        """Rows drawn before `_in_force_from`, int64[datasets * levels]."""
        self.advance(0)
        weights = method.weights()
        check_weights(self.method_name, weights, cells.sizes)
        self.mixture = MixtureSampler(self._sizes, weights.ravel(), seed=seed, replacement=config.replacement)
        self._put_in_force()

    @property
    def trained(self) -> int:
        """Rows trained on; without packing, the position up to which the stream was used."""
        return int(self.rows_trained.sum())

    def count(self, rows: NDArray[np.int64]) -> None:
        """Count the rows of a step that was made, int64[rows of the step]."""
        cell = self.cells.of(rows)
        self.rows_trained += np.bincount(cell, minlength=self.rows_trained.size)
        for counted, of_rows in ((self.tokens, self.cells.lengths), (self.trained_tokens, self.cells.trained)):
            counted[:] += np.bincount(cell, weights=of_rows[rows], minlength=counted.size).astype(np.int64)

    def update(self, signals: dict[str, NDArray[np.float64]], head: int) -> None:
        """Give signals to the method; its new weights take force at the position `head`."""
        self.method.update(signals)
        self.reweigh(head)

    def stop(self, names: Collection[str]) -> None:
        """Let datasets give no more rows than they have given; it acts with the next new weights."""
        self._allowance[np.repeat([name in names for name in self.cells.names], self.cells.levels)] = 0

    def advance(self, step: int) -> bool:
        """Bring a method that follows time to the weights after `step`; say whether it has others than before."""
        if not isinstance(self.method, FollowsTime):
            return False
        before = self.method.weights()
        self.holds_until = self.method.advance(step, self._steps)
        return not np.array_equal(self.method.weights(), before)

    def reweigh(self, head: int) -> None:
        """Let the method's weights, under the cap, take force at the position `head`."""
        self._drawn += self.mixture.counts(self._in_force_from, head - self._in_force_from)
        self._in_force_from = head
        self._put_in_force()

    def _put_in_force(self) -> None:
        """Put the method's weights in force, as shares of rows, lowered where a row would be repeated too often.

        Shares that would draw just what a cell may still give can draw a row more: the stream has whole rows. What it
        would draw by the end is known, so the cap is lowered by what is too much until nothing is.
        """
        weights = self.method.weights()
        check_weights(self.method_name, weights, self.cells.sizes)
        wanted = weights.ravel() / self._unit * self._cost
        wanted /= wanted.sum()
        # Of the rows that are drawn, so many are left waiting at the end.
        total = self.holds_until * self._capacity + self._window * float(wanted @ self._cost)
        left = total - float(self._drawn @ self._cost)
        if left <= 0:
            return  # nothing is drawn any more
        allowance = np.maximum(self._allowance - self._drawn, 0.0)
        self.used_up = not allowance[wanted > 0].any()
        spare = np.zeros(self._sizes.size)
        for _ in range(_TRIES):
            shares, self.capped = cap_weights(wanted, (allowance - spare) * self._cost, left)
            self.mixture.reweight(self._in_force_from, shares / self._cost)
            rows = math.ceil(left * float((shares / self._cost).sum()))
            excess = self.mixture.counts(self._in_force_from, rows) - allowance
            spare = np.minimum(spare + np.maximum(np.ceil(excess), 0), allowance)
            # Where all caps together are too small for the run, no weights can hold them.
            if not (excess > 0).any() or ((allowance - spare) * self._cost)[wanted > 0].sum() < left:
                break

    def weights(self) -> NDArray[np.float64]:
        """The newest weights, as shares of what `unit` says; float64[datasets, levels]."""
        shares = self.row_shares * self._unit
        shares /= shares.sum()
        return shares.reshape(self.cells.sizes.shape)

    def branch(self, weights: NDArray[np.float64], head: int) -> MixtureSampler:
        """A copy of the stream that has other weights from the position `head` on, float64[datasets, levels]."""
        mixture = MixtureSampler.from_state_dict(self.mixture.state_dict())
        mixture.reweight(head, weights.ravel() / self._unit)
        return mixture

    @property
    def row_shares(self) -> NDArray[np.float64]:
        """How likely each cell is to be drawn under the newest weights, float64[datasets * levels], sums to 1."""
        return self.mixture.weights(self._in_force_from)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs, JSON-safe."""
        return {
            "block": self._config.effective(),
            "seed": self._seed,
            "datasets": list(self.cells.names),
            "fingerprints": list(self.cells.fingerprints),
            "mixture": self.mixture.state_dict(),
            "method_state": self.method.state_dict(),
            "rows_trained": self.rows_trained.tolist(),
            "tokens": self.tokens.tolist(),
            "trained_tokens": self.trained_tokens.tolist(),
            "capped": self.capped.tolist(),
            "in_force_from": self._in_force_from,
            "drawn": self._drawn.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state; a ValueError says what differs where it belongs to another run."""
        self.changed = compare(state["block"], self._config.effective())
        if state["seed"] != self._seed:
            msg = (
                f"the checkpoint was trained with seed {state['seed']}, but this run has seed {self._seed}; "
                f"set `hbo.seed: {state['seed']}`, or start afresh."
            )
            raise ValueError(msg)
        if state["datasets"] != list(self.cells.names):
            msg = (
                f"the checkpoint mixes other datasets: this run {_differ(state['datasets'], self.cells.names)}; change "
                f"`datasets:` and `hbo.names` back, or begin a new run from the checkpoint's model, with `base_model:` "
                f"(for an adapter, `lora_model_dir:`) set to the checkpoint, another `output_dir`, and no "
                f"`resume_from_checkpoint`."
            )
            raise ValueError(msg)
        for name, old, new in zip(self.cells.names, state["fingerprints"], self.cells.fingerprints, strict=True):
            if old != new:
                msg = (
                    f"the rows or levels of dataset `{name}` are not those of the checkpoint; "
                    f"restore the data, `sequence_len`, `val_set_size`, `seed` and `hbo:` keys of that run, or start afresh."
                )
                raise ValueError(msg)
        mixture = MixtureSampler.from_state_dict(state["mixture"])
        if mixture.cell_sizes.tolist() != self._sizes.tolist() or len(state["rows_trained"]) != self._sizes.size:
            msg = (
                f"the checkpoint's stream has cells of {mixture.cell_sizes.tolist()} rows, but this run has "
                f"`{self._sizes.tolist()}`; resume with the data of that run, or start afresh."
            )
            raise ValueError(msg)
        self.mixture = mixture
        self.method.load_state_dict(state["method_state"])
        self.rows_trained = np.array(state["rows_trained"], np.int64)
        self.tokens = np.array(state["tokens"], np.int64)
        self.trained_tokens = np.array(state["trained_tokens"], np.int64)
        self.capped = np.array(state["capped"], np.bool_)
        self._in_force_from = state["in_force_from"]
        self._drawn = np.array(state["drawn"], np.int64)


def _differ(old: Sequence[str], new: Sequence[str]) -> str:
    """What a run does with the datasets of a checkpoint, which are not its own."""
    added, removed = ([name for name in these if name not in those] for these, those in ((new, old), (old, new)))
    found = [f"{verb} {listed(names)}" for verb, names in (("adds", added), ("lacks", removed)) if names]
    return " and ".join(found) or f"has them in another order, which was {listed(old)}"
