"""docs/methods.md: its example works, and its tables are the code's."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from method_cases import ROWS, build

from hbo_plugin.methods import METHODS, SIGNALS, find_method

if TYPE_CHECKING:
    from hbo_plugin.methods import Method

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text()


def block(language: str) -> str:
    """The page's only code block in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def from_the_page(monkeypatch: pytest.MonkeyPatch) -> Method:
    """The method of the page's Python, as its YAML names it."""
    config = yaml.safe_load(block("yaml"))["hbo"]
    module = ModuleType("my_package")
    exec(block("python"), module.__dict__)  # noqa: S102 that it runs is what is tested
    monkeypatch.setitem(sys.modules, "my_package", module)
    return find_method(config["method"])(ROWS, **config["settings"])


def test_the_example_does_what_its_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    method = from_the_page(monkeypatch)
    np.testing.assert_allclose(method.weights(), ROWS / ROWS.sum(), rtol=1e-12)
    method.update({"loss": np.array([[3.0, 1.0, 2.0], [np.nan, np.inf, 0.5], [2.0, np.nan, 1.0]])})
    odds = np.array([[25 * 9, 25, 26 * 4], [300, 300, 301 / 4], [4 * 4, 0, 4]])
    np.testing.assert_allclose(method.weights(), odds / odds.sum(), rtol=1e-12)
    assert set(method.signals) <= set(SIGNALS)


def test_the_example_is_restored_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    method, restored = from_the_page(monkeypatch), from_the_page(monkeypatch)
    random = np.random.default_rng(1)
    method.update({"loss": random.random(ROWS.shape)})
    restored.load_state_dict(json.loads(json.dumps(method.state_dict(), allow_nan=False)))
    np.testing.assert_array_equal(restored.weights(), method.weights())
    with pytest.raises(ValueError, match="saved state"):
        restored.load_state_dict({"loss": [[1.0]]})


OFFERED = ("rows", "names", "seed")
"""Parameters that are not settings."""


def yaml_value(default: object) -> str:
    """A default as YAML has it."""
    return str(yaml.safe_dump(default)).removesuffix("...\n").strip()


def methods_table() -> str:
    """Every method with its class's first line and source, its signals by default, and its settings."""
    lines = ["| `method` | weights | source | signals | settings |", "|---|---|---|---|---|"]
    for name, method in METHODS.items():
        words = " ".join(inspect.getdoc(method).split())  # type: ignore[union-attr]
        about = words[: words.index(". ") + 1] if ". " in words else words
        (source,) = re.findall(r"Source: (.*)\.$", words)
        signals = ", ".join(f"`{signal}`" for signal in build(name, ROWS).signals)
        parameters = inspect.signature(method).parameters.values()
        options = ", ".join(
            f"`{option.name}: {yaml_value(option.default)}`" for option in parameters if option.name not in OFFERED
        )
        lines.append(f"| `{name}` | {about} | {source} | {signals} | {options} |")
    return "\n".join(lines)


def signals_table() -> str:
    """Every signal with its kind and meaning."""
    lines = ["| signal | one value a | meaning |", "|---|---|---|"]
    for name, signal in SIGNALS.items():
        lines.append(f"| `{name}` | {'cell' if signal.per_cell else 'dataset'} | {signal.meaning} |")
    return "\n".join(lines)


@pytest.mark.parametrize("table", [methods_table, signals_table])
def test_the_tables_are_the_code_s(table: object) -> None:
    assert callable(table)
    assert table() in PAGE
