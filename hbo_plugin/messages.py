"""The words of an error: what was given, what is allowed, and what to do. One form for every key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Result = TypeVar("Result")


class Refusals(ValueError):  # noqa: N818 more than one
    """Several refusals at once.

    Attributes:
        found: their messages.
    """

    def __init__(self, found: Sequence[str]) -> None:
        """Join them into one message, a line each."""
        super().__init__("\n".join(found))
        self.found = tuple(found)


def all_of(calls: Iterable[Callable[[], Result]]) -> list[Result]:
    """Return what the calls return; a ValueError has what all of them refuse, and not the first alone."""
    results: list[Result] = []
    errors: dict[str, ValueError] = {}
    for call in calls:
        try:
            results.append(call())
        except ValueError as error:  # noqa: PERF203 each may be refused
            found = error.found if isinstance(error, Refusals) else [str(error)]
            errors.update((message, error) for message in found if message not in errors)
    if len(errors) > 1:
        raise Refusals([*errors])
    if errors:
        raise next(iter(errors.values()))
    return results


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the name in `known` that is spelled most like `name`; None where none is much like it."""
    return next(iter(difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)), None)


def listed(names: Iterable[str]) -> str:
    """Return the names in backticks, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def encodable(text: str) -> str:
    """Return the text with `?` for what the encoding of stdout lacks, which would end the process."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def unknown_dataset(key: str, name: str, names: Sequence[str]) -> str:
    """Return the message for a key that names a dataset that there is not."""
    near = nearest(name, names)
    hint = f"did you mean `{near}`?" if near else "correct it, or name the datasets in `hbo.names`."
    return f"`hbo.{key}` names the dataset `{name}`, but the datasets are {listed(names)}; {hint}"


def yaml_text(value: object) -> str:
    """Return a value as a reader would write it in YAML, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {yaml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(yaml_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return {"inf": ".inf", "-inf": "-.inf", "nan": ".nan"}.get(text, text) if isinstance(value, float) else text


def explain(
    error: ValidationError,
    given: object,
    defaults: Mapping[str, Any],
    own: Collection[str] = (),
    *,
    place: str = "hbo",
) -> str:
    """Return what pydantic found wrong in keys of the `hbo:` block, or of a block inside it, as one message.

    Args:
        error: pydantic's. Of several findings, the one deepest in the block counts: it is nearest to the mistake.
        given: the keys with their values.
        defaults: the default of each key that has one.
        own: the keys that stand under `hbo.settings`.
        place: where the block stands.
    """
    found = [(_path(part["loc"], given), part) for part in error.errors()]
    path, first = max(found, key=lambda pair: len(pair[0]))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    missing = first["type"] == "missing"
    keys = [*path, first["loc"][-1]] if missing else path
    key = ".".join([place, *(["settings"] if keys and keys[0] in own else []), *map(str, keys)])
    if missing:
        return f"`{key}` is missing, but it has no default; add it."
    message = f"`{key}: {yaml_text(first['input'])}` was given, but"
    if not first["msg"].startswith("Input should be "):
        return f"{message} that is no key; remove it."
    allowed = [_allowed(part) for where, part in found if where == path]
    message = f"{message} it must be {' or '.join(dict.fromkeys(allowed))}; change it"
    default = defaults.get(str(path[0])) if len(path) == 1 else None
    return f"{message}." if default is None else f"{message}, or remove it for the default of `{yaml_text(default)}`."


def reasons(error: ValidationError) -> str:
    """Return the messages that were raised under pydantic, a line each."""
    return "\n".join(part["msg"].removeprefix("Value error, ") for part in error.errors())


def _allowed(part: ErrorDetails) -> str:
    """What pydantic allows, in the words of a reader of YAML."""
    if part["type"] in {"dict_type", "dataclass_type"}:
        return "a block of keys"
    return part["msg"].removeprefix("Input should be ").split(", unable")[0].replace("'", "`")


def _path(location: tuple[int | str, ...], given: object) -> list[int | str]:
    """The keys of a location, without the names of types that pydantic puts between them."""
    path = []
    for part in location:
        if isinstance(given, Mapping) and part in given:
            path.append(part)
            given = given[part]
    return path
