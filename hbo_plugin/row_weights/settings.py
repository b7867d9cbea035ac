"""What the key `row_weights` may have: a word, a block or the path of a class, read into one form, and told in words."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hbo_plugin.messages import explain, listed, nearest, yaml_text
from hbo_plugin.methods.parameters import defaults, parameters, plain
from hbo_plugin.row_weights.dwm import DwmSettings

CLASS_PATH = r"^[^.\s]+(\.[^.\s]+)+$"
"""The dotted path of a class, as a regular expression."""
DWM = "dwm"
"""The word for row weights that a network learns."""
_OF_LEARNING = ("refresh_every", "stages", "passes", "learning_rate", "l2")
"""Settings of a network that learns."""
_KEY = "hbo.row_weights"
_FORMS = f"`{DWM}`, `{{column: NAME}}`, or the dotted path of a class, as in `my_package.MyWeights`"

Settings = TypeVar("Settings")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ColumnSettings:
    """Row weights from a column of the data."""

    column: Annotated[str, Field(description="A column of the data with the weight of each row, 0 or more.")]
    normalise: Annotated[
        bool, Field(description="Divide the weights of each step by their mean over its trained tokens.")
    ] = True


RowWeightsSettings = ColumnSettings | DwmSettings | str
"""Which row weights act; a string is the dotted path of a class."""


def read(given: object) -> RowWeightsSettings:
    """Return what the key has, as YAML gives it, in one form.

    Raises:
        ValueError: it is none of the forms that the key has.
    """
    if isinstance(given, str) and re.fullmatch(CLASS_PATH, given):
        return given
    block = {DWM: None} if given == DWM else given
    if not isinstance(block, Mapping) or not block:
        near = nearest(given, [DWM]) if isinstance(given, str) else None
        hint = f"did you mean `{near}`?" if near else "change it, or remove it for rows that all count alike."
        msg = f"`{_KEY}: {yaml_text(given)}` was given, but it must be {_FORMS}; {hint}"
        raise ValueError(msg)
    if DWM not in block:
        return _read(ColumnSettings, block, _KEY)
    if "column" in block:
        msg = (
            f"`{_KEY}: {yaml_text(block)}` was given, but rows are weighed by `column` or by `{DWM}`, not by both; "
            f"remove one of them."
        )
        raise ValueError(msg)
    _refuse_others(block, (DWM,), _KEY)
    learned = block[DWM]
    if isinstance(learned, str):
        return DwmSettings(path=learned)
    if learned is None:
        return DwmSettings()
    if not isinstance(learned, Mapping):
        msg = (
            f"`{_KEY}.{DWM}: {yaml_text(learned)}` was given, but it must be the path of a network, or a block of "
            f"keys; change it."
        )
        raise ValueError(msg)  # noqa: TRY004 pydantic reports a ValueError, and lets a TypeError through
    settings = _read(DwmSettings, learned, f"{_KEY}.{DWM}")
    usual = defaults(DwmSettings)
    idle = [name for name in _OF_LEARNING if getattr(settings, name) != usual[name]]
    if settings.path and idle:
        msg = f"`{_KEY}.{DWM}.path` gives a finished network, which learns no more, so {listed(idle)} would do nothing; remove them."
        raise ValueError(msg)
    return settings


def written(settings: RowWeightsSettings) -> dict[str, Any] | str:
    """Return what `read` reads into these settings, defaults included."""
    if isinstance(settings, DwmSettings):
        return {DWM: plain(settings)}
    return settings if isinstance(settings, str) else plain(settings)


def told(settings: RowWeightsSettings) -> str:
    """Return in words what weighs the rows."""
    if isinstance(settings, ColumnSettings):
        mean = ", divided by its mean over each step" if settings.normalise else ""
        return f"the column `{settings.column}`{mean}"
    if isinstance(settings, DwmSettings):
        if settings.path:
            return f"the network in `{settings.path}`"
        every = "step" if settings.refresh_every == 1 else f"{settings.refresh_every:,} steps"
        return f"a network that learns every {every}, from the gradient of held-out rows"
    return f"the class `{settings}`"


def _read(kind: type[Settings], given: Mapping[str, Any], place: str) -> Settings:
    _refuse_others(given, parameters(kind), place)
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        raise ValueError(explain(error, given, defaults(kind), place=place)) from None


def _refuse_others(given: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    """Refuse keys that are none of those known."""
    for key in given:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean `{near}`?" if near else "remove it."
            msg = f"`{place}.{key}: {yaml_text(given[key])}` was given, but there is no such key; {hint}"
            raise ValueError(msg)
