"""docs/troubleshooting.md: it quotes messages that the package has, and has an entry for each message of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTES = [
    [part.strip() for part in quote.split("…") if part.strip()]
    for quote in re.findall(r"^\| ``(.*?)``(?!`) \|", PAGE, re.MULTILINE)
]
"""The quoted parts of each message."""

FOR_PYTHON = (
    "packing.py",
    "rank_share.py",
    "__init__.py",
    "bench/",
    "methods/base.py",
    "methods/signals.py",
    "methods/reading.py",
)
"""What only somebody who calls the package from Python sees; the message is enough there."""

INTERNAL = (
    "a perplexity ratio was asked for before the start was measured",
    "this run cannot train branches",
    "it has not one entry for each cell",
)
"""Faults of the package itself, and a part of another message."""


def texts(node: ast.AST) -> list[str]:
    """The constant parts of a string, in order; of a formatted value, those inside it too."""
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def nodes() -> Iterator[tuple[str, ast.AST]]:
    """Every node of the package, with its file."""
    package = ROOT / "hbo_plugin"
    for file in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            yield file.relative_to(package).as_posix(), node


def messages() -> Iterator[list[str]]:
    """The constant parts of each error and each warning that a user can see, in order."""
    for file, node in nodes():
        if file.startswith(FOR_PYTHON) and not file.startswith("methods/__"):
            continue
        if isinstance(node, ast.Assign) and [ast.unparse(each) for each in node.targets] in (["msg"], ["message"]):
            yield texts(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "LOG.warning":
            yield texts(node.args[0])


def quoted(message: list[str]) -> bool:
    """Whether the page has an entry for a message."""
    joined = "\0".join(message)
    return any(all(part in joined for part in quote) for quote in QUOTES)


def test_every_quote_is_of_a_message() -> None:
    constants = [text for _, node in nodes() for text in texts(node) if isinstance(node, ast.Constant)]
    assert len(QUOTES) > 50
    assert [part for quote in QUOTES for part in quote if not any(part in text for text in constants)] == []


def test_every_message_has_an_entry() -> None:
    found = [message for message in messages() if max(map(len, message), default=0) > 20]
    assert len(found) > 40
    missing = [message for message in found if not quoted(message) and not message[0].startswith(INTERNAL)]
    assert missing == []
