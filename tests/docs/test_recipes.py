"""The YAML of README and docs/: Axolotl's schema with the plugin accepts it."""

import re
from pathlib import Path

import pytest
import yaml

from hbo_plugin.input_args import HBOArgs

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE), 1)
    if "hbo:" in block and "my_package" not in block  # that one is run by test_methods_page.py
]


def test_there_are_recipes() -> None:
    assert len(BLOCKS) > 15


@pytest.mark.parametrize("block", BLOCKS)
def test_the_plugin_accepts(block: str) -> None:
    HBOArgs.model_validate(yaml.safe_load(block))
