"""Lengths of real rows, from text that is on every machine: the demo's data, and Python's standard library."""

from __future__ import annotations

import ast
import json
import re
import sysconfig
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_TOKEN = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
"""A word, a digit or a sign: on the demo's rows, 54 of them where its model's tokenizer has 59 tokens."""
DEMO = Path("demo/data/train")


def demo() -> Iterator[int]:
    """Rows of the demo: short puzzles of six kinds. None before `make demo`."""
    for path in sorted(DEMO.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            chat = [message["content"] for message in row.get("messages", ())]
            yield sum(map(_tokens, [*chat, *(row.get(key, "") for key in ("instruction", "input", "output", "text"))]))


def instructions() -> Iterator[int]:
    """Functions and classes with a docstring: the docstring asks for the code, as in sets of code instructions."""
    for text in _modules():
        lines = text.splitlines()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except SyntaxError:  # some test files are wrong on purpose
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and (asked := ast.get_docstring(node)):
                yield _tokens(asked) + _tokens("\n".join(lines[node.lineno - 1 : node.end_lineno]))


def documents() -> Iterator[int]:
    """Whole modules: half have fewer than 1,700 tokens, one in ten more than 12,000."""
    yield from map(_tokens, _modules())


SETS: dict[str, tuple[Callable[[], Iterator[int]], int]] = {
    "demo": (demo, 256),
    "instructions": (instructions, 2048),
    "documents": (documents, 4096),
}
"""What gives the lengths, and the `sequence_len` that such data is trained with."""


def lengths(name: str, rows: int) -> NDArray[np.int32]:
    """Lengths of at most so many rows of a set, int32[rows], those above its `sequence_len` dropped as Axolotl does."""
    count, sequence_len = SETS[name]
    return np.fromiter(islice((tokens for tokens in count() if 0 < tokens <= sequence_len), rows), np.int32)


def _tokens(text: str) -> int:
    return len(_TOKEN.findall(text))


def _modules() -> Iterator[str]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if "site-packages" not in path.parts:
            try:
                yield path.read_text(encoding="utf-8")
            except UnicodeDecodeError:  # likewise
                continue
