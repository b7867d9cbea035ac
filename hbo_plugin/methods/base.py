"""What a method is (signals in, weights out), and the arithmetic and checks that methods share."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Softmax keeps every logit within this distance of the largest: a weight that reached 0 could never
# come back, and the product of a global and a local weight must not underflow either.
_LOWEST_LOGIT = -300.0


class Method(Protocol):
    """The rule that turns signals into weights; built from the rows of every cell and its settings."""

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals that `update` needs; empty for a method that never changes its weights.

        An attribute of the class or of the instance will do; it does not change after the method is built.
        """
        ...

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


@runtime_checkable
class KeepsArrays(Protocol):
    """A method with state that is too large for JSON, such as the weights of a network; it has these two beside the rest."""

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays that `update` changes, by name."""
        ...

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], /) -> None:
        """Continue from what `arrays` returned; ValueError where they do not fit."""
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
    check_setting("temperature", temperature, "above 0", lambda value: value > 0)
    with np.errstate(over="ignore"):  # the coldest put all weight on the largest, as they should
        return softmax(np.log(rows / rows.max()) / temperature)


def moving_average(old: NDArray[np.float64], new: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Return `smoothing * old + (1 - smoothing) * new`, arm by arm: float64[arms].

    Where `new` is NaN the old value stays; where `old` is NaN (never measured) the new one is taken whole.
    """
    mixed = np.where(np.isnan(old), new, smoothing * old + (1 - smoothing) * new)
    return np.where(np.isnan(new), old, mixed)


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[arms] with NaN (never measured) replaced by the mean of the others, of which there is one."""
    return np.where(np.isnan(values), np.nanmean(values), values)


def check_setting(name: str, value: object, allowed: str, ok: Callable[[Any], bool]) -> None:
    """Raise ValueError unless `ok(value)`; a value that cannot even be compared is not ok."""
    try:
        good = ok(value)
    except (TypeError, ValueError):
        good = False
    if not good:
        message = f"`{name}` is `{value}`, but it must be {allowed}: change it, or leave it out for its default."
        raise ValueError(message)


def check_share(name: str, value: object) -> None:
    """Raise ValueError unless the setting is between 0 and 1."""
    check_setting(name, value, "between 0 and 1", lambda share: 0 <= share <= 1)


def check_smoothing(value: object) -> None:
    """Raise ValueError unless the setting `smoothing` is at least 0 and below 1."""
    check_setting("smoothing", value, "at least 0 and below 1", lambda share: 0 <= share < 1)


def check_factor(name: str, value: object) -> None:
    """Raise ValueError unless the setting is 0 or more, and finite."""
    check_setting(name, value, "0 or more, and finite", lambda factor: factor >= 0 and isfinite(factor))


def by_name(setting: str, values: object, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the setting `{dataset name: number}` in the order of the datasets, float64[datasets].

    Raises ValueError unless it has one finite number for each of `names` and nothing else.
    """
    listed = ", ".join(f"`{name}`" for name in names)
    if not isinstance(values, Mapping):
        message = f"`{setting}` is `{values}`, but this method needs one number for each dataset: set it for {listed}."
        raise ValueError(message)  # noqa: TRY004 a setting of the wrong kind is a wrong value to its user
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)[0]
            message = f"`{setting}` names the dataset `{name}`, but the datasets are {listed}: did you mean `{near}`?"
            raise ValueError(message)
    for name in names:
        if name not in values:
            message = f"`{setting}` has no number for the dataset `{name}`, but it needs one for each: add it."
            raise ValueError(message)
        check_setting(f"{setting}.{name}", values[name], "a finite number", isfinite)
    return np.array([values[name] for name in names], dtype=np.float64)


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
