"""What a method is (signals in, weights out), and the arithmetic and checks that methods share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# Softmax keeps every logit within this distance of the largest: a weight that reached 0 could never
# come back, and the product of a global and a local weight must not underflow either.
_LOWEST_LOGIT = -300.0


class Method(Protocol):
    """The rule that turns signals into weights; built from the rows of every cell and its settings."""

    signals: ClassVar[tuple[str, ...]]
    """Names of the signals that `update` needs; empty for a method that never changes its weights."""

    def weights(self) -> NDArray[np.float64]:
        """Return the weights in force: float64[datasets, levels], sums to 1, 0 exactly where a cell has no rows."""
        ...

    def update(self, signals: Mapping[str, NDArray[np.float64]], /) -> None:
        """Take one measurement of each signal named in `signals`; other entries are ignored.

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


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights proportional to exp(logits): float64[arms], all above 0, sums to 1."""
    odds = np.exp(np.maximum(logits - logits.max(), _LOWEST_LOGIT))
    weights: NDArray[np.float64] = odds / odds.sum()
    return weights


def temperature_prior(rows: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the weights proportional to rows^(1/temperature): float64[arms] from int64[arms], all at least 1.

    Temperature 1 is in proportion to the rows, infinity is uniform. Source: HBO (arXiv 2505.12300), q_tau.
    """
    check_setting("temperature", temperature, "above 0", ok=temperature > 0)
    return softmax(np.log(rows) / temperature)


def moving_average(old: NDArray[np.float64], new: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Return `smoothing * old + (1 - smoothing) * new`, arm by arm: float64[arms].

    Where `new` is NaN the old value stays; where `old` is NaN (never measured) the new one is taken whole.
    """
    mixed = np.where(np.isnan(old), new, smoothing * old + (1 - smoothing) * new)
    return np.where(np.isnan(new), old, mixed)


def check_setting(name: str, value: float, allowed: str, *, ok: bool) -> None:
    """Raise ValueError unless `ok`."""
    if not ok:
        message = f"`{name}` is `{value}`, but it must be {allowed}: change it, or leave it out for its default."
        raise ValueError(message)


def check_rows(rows: NDArray[np.int64]) -> None:
    """Raise ValueError unless `rows` is [datasets, levels], nowhere negative, and no dataset is empty."""
    if rows.ndim != 2 or rows.size == 0:
        message = f"The rows of the cells have shape `{rows.shape}`, but it must be [datasets, levels]: reshape them."
        raise ValueError(message)
    if (rows < 0).any():
        message = f"A cell has `{rows.min()}` rows, but it must have 0 or more: count them again."
        raise ValueError(message)
    empty = np.flatnonzero(rows.sum(axis=1) == 0)
    if empty.size:
        message = f"Dataset number `{empty[0]}` has no rows, but every dataset needs at least 1: leave it out."
        raise ValueError(message)


def read_signal(signals: Mapping[str, NDArray[np.float64]], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return signal `name` as float64 of `shape`, or raise ValueError."""
    if name not in signals:
        message = f"The signal `{name}` is missing, but this method needs it at every update: measure it, or pass NaN."
        raise ValueError(message)
    values = np.asarray(signals[name], dtype=np.float64)
    if values.shape != shape:
        message = f"The signal `{name}` has shape `{values.shape}`, but it must be `{shape}`: pass one value for each."
        raise ValueError(message)
    return values


def to_json(values: NDArray[np.float64]) -> list[float | None]:
    """Return float64[arms] as a list; NaN, which JSON lacks, becomes None."""
    return [None if np.isnan(value) else float(value) for value in values]


def from_json(state: Mapping[str, Any], name: str, arms: int, *, unmeasured: bool = False) -> NDArray[np.float64]:
    """Return entry `name` of a saved state as float64[arms]; None becomes NaN and is allowed where `unmeasured`.

    Raises ValueError where the entry is missing, is no list of `arms` numbers, or has a number that cannot be.
    """
    if name not in state:
        message = (
            f"The saved state of the method has no `{name}`, so another method made it: "
            "resume with the method that the checkpoint was made with."
        )
        raise ValueError(message)
    try:
        values = np.array(state[name], dtype=np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)  # no list of numbers: refused below, by its shape
    fits = values.shape == (arms,) and not np.isinf(values).any()
    if not fits or (np.isnan(values).any() and not unmeasured):
        message = (
            f"The saved state of the method has `{state[name]}` for `{name}`, but it must be {arms} finite numbers: "
            "resume with the datasets and levels that the checkpoint was made with."
        )
        raise ValueError(message)
    return values
