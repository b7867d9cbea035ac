"""The parameters that several methods have, each with its bounds and its meaning; and how a method reads them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from hbo_plugin.messages import explain, listed, unknown_dataset

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Shares = dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
"""A number for each dataset, by its name; they need not sum to 1."""
Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A time in a run: below 1 a share of its steps, else an optimizer step."""
StepSize = Annotated[
    float, Field(gt=0, le=1, description="How much of the way to its goal one update moves a weight, in logarithms.")
]
LogStep = Annotated[Factor, Field(description="What a reward of one nat adds to the logarithm of a weight.")]
PriorFloor = Annotated[Share, Field(description="Share of the weights that always follows the prior.")]
UniformFloor = Annotated[Share, Field(description="Share of the weights that is always uniform.")]
EmaDecay = Annotated[
    float,
    Field(ge=0, lt=1, description="Share of its old value that a moving average keeps when a new reward comes in."),
]
Penalty = Annotated[
    float,
    Field(
        gt=0,
        allow_inf_nan=False,
        description="How many times as much as held-out rows the training rows count for a twin.",
    ),
]
PENALTY = 10.0
"""That of the published runs on small models."""
TwinEvery = Annotated[
    int,
    Field(
        ge=1,
        description="Of so many steps in a row, a twin makes the last of its own: 1 trains it as much as the model.",
    ),
]
TWIN_EVERY = 4
Exponent = Annotated[Factor, Field(description="Power to which a reward counts; at 0 the weights stay at the prior.")]


def step_of(moment: float, steps: int) -> int:
    """Return the optimizer step of a `Moment` in a run of so many."""
    return round(moment * steps) if moment < 1 else int(moment)


def parameters(settings: type) -> tuple[str, ...]:
    """Return the names of a method's parameters, which are the fields of its `Settings`."""
    return tuple(field.name for field in fields(settings))


def defaults(settings: type) -> dict[str, Any]:
    """Return the defaults of the parameters that have one, as YAML has them."""
    found = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(settings)
    }
    return plain({name: value for name, value in found.items() if value is not MISSING})


def plain(values: object) -> dict[str, Any]:
    """Return parameters, a `Settings` or a mapping, as YAML has them: numbers, strings, lists and blocks."""
    found: dict[str, Any] = to_jsonable_python(values, by_alias=True)
    return found


def read_settings(settings: type, given: Mapping[str, Any], own: Collection[str] = ()) -> Any:
    """Return an instance of a method's `Settings`, with its types and bounds checked.

    Args:
        settings: the dataclass.
        given: the parameters that are set; all of them are its fields.
        own: those that stand under `hbo.settings`.

    Raises ValueError for a value that is not allowed, and where a parameter without a default is missing.
    """
    try:
        return TypeAdapter(settings).validate_python(dict(given))
    except ValidationError as error:
        raise ValueError(explain(error, given, defaults(settings), own)) from None


def in_order(key: str, values: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the parameter `{dataset name: number}` in the order of the datasets, float64[datasets].

    Raises ValueError unless it has one number for each of `names`, and for no other name but a 0: such a dataset was left out.
    """
    for name, value in values.items():
        if name not in names and value:
            raise ValueError(unknown_dataset(key, name, names))
    missing = [name for name in names if name not in values]
    if missing:
        message = (
            f"`hbo.{key}` has no number for {listed(missing)}, but it needs one for each of {listed(names)}; add it, or 0 "
            "to leave a dataset out."
        )
        raise ValueError(message)
    return np.array([values[name] for name in names], dtype=np.float64)
