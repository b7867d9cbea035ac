"""User errors: a mistake in the configuration or the data ends a command with its message, not with a traceback."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from hbo_plugin.messages import Refusals

_PACKAGE = Path(__file__).parent


def show_without_traceback() -> None:
    """From now on, an error of the user's that ends the process is printed as its message alone.

    Errors keep their types, so a program that catches them sees no difference. What the launcher prints after the
    process has ended is beyond a plugin's reach: `accelerate launch` adds a traceback of its own unless it is `--quiet`.
    """
    if isinstance(sys.excepthook, _Hook):
        return
    sys.excepthook = _Hook(sys.excepthook)


def refusals(error: Exception) -> list[str]:
    """What an error says to the user, a message for each thing that is wrong."""
    if isinstance(error, ValidationError):
        return [*map(_line, error.errors(include_url=False, include_input=False))]
    if isinstance(error, Refusals):
        return [*error.found]
    return [str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"]


class _Hook:
    """What Python calls with an exception that nobody caught."""

    def __init__(self, previous: Any) -> None:
        self._previous = previous

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        message = _message(error)
        if message is None:
            self._previous(kind, error, trace)
        else:
            sys.stdout.flush()
            print(f"\nhbo: {message}", file=sys.stderr)  # noqa: T201 logging may be off or go elsewhere


def _message(error: BaseException) -> str | None:
    """The message of an error that hbo raised for its user; None for every other."""
    if isinstance(error, ValidationError):
        if not any(_is_ours(each) for each in error.errors(include_url=False, include_input=False)):
            return None
        return "\n".join(["the configuration is refused.", *refusals(error)])
    return str(error) if isinstance(error, ValueError) and _raised_here(error) else None


def _is_ours(found: Any) -> bool:
    return found["loc"][:1] == ("hbo",) or _raised_here(found.get("ctx", {}).get("error"))


def _line(found: Any) -> str:
    reason = found["msg"].removeprefix("Value error, ")
    where = ".".join(map(str, found["loc"]))
    # hbo's own messages name the key, and pydantic's do not.
    return reason if found["type"] == "value_error" or not where else f"`{where}`: {reason}."


def _raised_here(error: object) -> bool:
    """Whether the line that raised an error is in this package."""
    trace = error.__traceback__ if isinstance(error, BaseException) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and _PACKAGE in Path(trace.tb_frame.f_code.co_filename).parents
