"""What a method is: signals in, weights out. And the checks of what goes in and what comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

# Weights in 32-bit floats may sum to a little more or less than 1.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a method may know of the run that it is built for.

    Attributes:
        names: the datasets' names, in order.
        seed: of the run, 0 or more.
        batch: rows of an optimizer step.
        unit: what weights are shares of, as `hbo.unit` has it.
        update_every: optimizer steps between two updates.
        gradient_rows: rows of a dataset that its gradients are measured on; all rows where it has fewer.
        target: how much each held-out set counts, shares that sum to 1, in the order of signals that have a value for each.
        counted: the datasets that such a set belongs to.
    """

    names: tuple[str, ...] = ()
    seed: int = 0
    batch: int = 32
    unit: str = "row"
    update_every: int = 100
    gradient_rows: int = 32
    target: Mapping[str, float] = field(default_factory=dict)
    counted: frozenset[str] = frozenset()

    @property
    def target_shares(self) -> NDArray[np.float64]:
        """The shares of the target, float64[held-out sets that count]."""
        return np.array([*self.target.values()], np.float64)


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """The settings of a method without parameters."""


class Method(Protocol):
    """The rule that turns signals into weights.

    A method is built from `rows` (int64[datasets, levels], the rows of every cell; no dataset is empty), an instance
    of its `Settings`, and the `RunFacts`.
    """

    Settings: ClassVar[type]
    """A frozen dataclass. Its fields are the method's parameters, each with its type, bounds, default and meaning."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that `update` needs; empty for a method that never changes its weights.

        An attribute of the class or of the instance will do. It does not change after the method is built.
        """
        ...

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        ...

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Learn from one measurement of each signal named in `signals`; ignore other entries.

        A non-finite value means "not measured": what it would have changed keeps its last value.
        Raises ValueError where a signal is missing or has the wrong shape.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `update` changes, as plain JSON values that restore it bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit this method or its cells."""
        ...


@runtime_checkable
class FollowsTime(Protocol):
    """A method whose weights also depend on how far the run is; it has this beside the rest."""

    def advance(self, step: int, steps: int, /) -> int:
        """Take the weights of what follows step `step` of `steps`; return the step until which only an update changes them.

        It is called when the run begins, at each step that it returned, and before each update.
        """
        ...


AS_IT_IS = 3
"""Branches of a moment that stay as the run is: how far they lie apart is the noise of training."""


@dataclass(frozen=True)
class BranchPlan:
    """After which steps of a run branches are trained, how many at each moment, and for how many steps each."""

    moments: tuple[int, ...]
    count: int
    steps: int

    def __str__(self) -> str:
        return (
            f"{self.count} branches of {self.steps:,} steps, {len(self.moments) * self.count * self.steps:,} in the run"
        )


@runtime_checkable
class TrainsBranches(Protocol):
    """A method that is given signals after some steps alone, which come from branches; it has this beside the rest."""

    def branches(self, steps: int, /) -> BranchPlan:
        """Return when the branches of a run of so many steps are trained; ValueError where they cannot be."""
        ...


@runtime_checkable
class KeepsArrays(Protocol):
    """A method with state that is too large for JSON, such as the weights of a network; it has these two beside the rest."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays that `update` changes, by name."""
        ...

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], /) -> None:
        """Continue from what `arrays` returned; ValueError where they do not fit."""
        ...


class MethodClass(Protocol):
    """A class whose instances are methods."""

    Settings: type

    def __call__(self, rows: NDArray[np.int64], settings: Any, run: RunFacts, /) -> Method:
        """Build the method."""
        ...


def check_rows(rows: NDArray[np.int64]) -> None:
    """Raise ValueError unless `rows` is [datasets, levels], nowhere negative, and no dataset is empty."""
    if rows.ndim != 2 or rows.size == 0:
        message = f"The rows of the cells have shape `{rows.shape}`, but it must be [datasets, levels]; reshape them."
        raise ValueError(message)
    if (rows < 0).any():
        message = f"A cell has `{rows.min()}` rows, but it must have 0 or more; count them again."
        raise ValueError(message)
    empty = np.flatnonzero(rows.sum(axis=1) == 0)
    if empty.size:
        message = f"Dataset number `{empty[0]}` has no rows, but every dataset needs at least 1; leave it out."
        raise ValueError(message)


def check_weights(name: str, weights: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
    """Raise ValueError unless the weights of the method `name` are a distribution over the cells with rows.

    Args:
        name: of the method, for the message.
        weights: what its `weights()` returned.
        rows: int64[datasets, levels], the rows of every cell.
    """
    found = np.asarray(weights)
    if found.shape != rows.shape:
        wrong, right = f"weights of shape `{found.shape}`", f"must be `{rows.shape}`, one weight for each cell"
    elif not (np.isfinite(found) & (found >= 0)).all():
        wrong, right = f"the weight `{found[~(found >= 0) | np.isinf(found)][0]}`", "must be 0 or more, and finite"
    elif not abs(found.sum() - 1) <= _ROUNDING:
        wrong, right = f"weights whose sum is `{found.sum():.6g}`", "must be 1"
    elif found[rows == 0].any():
        wrong, right = f"the weight `{found[rows == 0].max():.3g}` to a cell without rows", "must be 0 there"
    else:
        return
    message = f"The method `{name}` gave {wrong}, but it {right}; correct its `weights()`."
    raise ValueError(message)
