"""docs/methods.md has the tables that the code says, and the example of docs/extending.md works."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from method_cases import ROWS, names
from methods_page import PAGE, TABLES, marked

from hbo_plugin.args import HBOConfig
from hbo_plugin.methods import SIGNALS, Method
from hbo_plugin.methods.base import check_weights

EXTENDING = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def block(language: str) -> str:
    """The first code block of the example in this language."""
    return str(re.findall(rf"^```{language}\n(.*?)^```$", EXTENDING, re.DOTALL | re.MULTILINE)[0])


def from_the_page(monkeypatch: pytest.MonkeyPatch) -> Method:
    """The method of the page's Python, as its YAML names it."""
    module = ModuleType("my_package")
    exec(block("python"), module.__dict__)  # noqa: S102 that it runs is what is tested
    monkeypatch.setitem(sys.modules, "my_package", module)
    config = HBOConfig.model_validate(yaml.safe_load(block("yaml"))["hbo"])
    return config.make_method(ROWS, names(ROWS), seed=0, batch=4)


def test_the_example_does_what_its_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    method = from_the_page(monkeypatch)
    np.testing.assert_allclose(method.weights(), ROWS / ROWS.sum(), rtol=1e-12)
    method.update({"loss": np.array([[3.0, 1.0, 2.0], [np.nan, np.inf, 0.5], [2.0, np.nan, 1.5]])})
    mean = (3 + 1 + 2 + 0.5 + 2 + 1.5) / 6
    odds = np.array([[25 * 9, 25, 26 * 4], [300 * mean**2, 300 * mean**2, 301 / 4], [4 * 4, 0, 4 * 1.5**2]])
    np.testing.assert_allclose(method.weights(), odds / odds.sum(), rtol=1e-12)
    assert set(method.signals) <= set(SIGNALS)
    check_weights("my_package.HighLoss", method.weights(), ROWS)


def test_the_example_does_not_run_away_from_what_it_has_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of a new model are near 7.6: a cell that is missed must not fall to the bottom for it."""
    method = from_the_page(monkeypatch)
    method.update({"loss": np.where(np.arange(9).reshape(3, 3) == 3, np.nan, 7.6)})
    np.testing.assert_allclose(method.weights(), ROWS / ROWS.sum(), rtol=1e-12)


def test_the_example_is_restored_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    method, restored = from_the_page(monkeypatch), from_the_page(monkeypatch)
    random = np.random.default_rng(1)
    method.update({"loss": np.where(ROWS > 4, random.random(ROWS.shape), np.nan)})
    restored.load_state_dict(json.loads(json.dumps(method.state_dict(), allow_nan=False)))
    np.testing.assert_array_equal(restored.weights(), method.weights())
    with pytest.raises(ValueError, match="saved state"):
        restored.load_state_dict({"loss": [1.0]})


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_the_code_s(name: str) -> None:
    """`python tests/helpers/methods_page.py` writes them."""
    assert marked(name, TABLES[name]()) in PAGE.read_text()


def test_the_yaml_of_the_page_is_accepted() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    HBOConfig.model_validate(yaml.safe_load(blocks[0])["hbo"])
