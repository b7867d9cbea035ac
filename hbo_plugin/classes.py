"""Classes of the user's own, found by their dotted path."""

from importlib import import_module
from typing import Any


def imported(key: str, path: str) -> Any:
    """Return what a dotted path names that the user gave as `hbo.<key>`; ValueError where it cannot be imported."""
    module, _, attribute = path.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        message = f"`hbo.{key}: {path}` was given, but it cannot be imported ({error}); give the dotted path of a class that can."
        raise ValueError(message) from error
