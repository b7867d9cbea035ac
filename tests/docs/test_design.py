"""docs/design.md: its tree has every folder and file of the package."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text()


def test_the_tree_has_the_whole_package() -> None:
    (tree,) = re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    package = ROOT / "hbo_plugin"
    names = {f"{path.parent.name}/" for path in package.glob("*/*.py")} | {path.name for path in package.glob("*.py")}
    assert names - set(tree.split()) - {"__init__.py"} == set()
