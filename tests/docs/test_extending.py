"""docs/extending.md: the example of a source works. That of a method is run by test_methods_page.py."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hbo_plugin.cells import Cells
from hbo_plugin.signals.context import Context
from hbo_plugin.signals.sources import Batch, SignalSource

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()


def source() -> SignalSource:
    """The source of the page, over two datasets of two levels."""
    (code,) = re.findall(r"^```python\n(\"\"\"Seen.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    module: Any = ModuleType("seen")
    exec(code, module.__dict__)  # noqa: S102 that it runs is what is tested
    cells = Cells(("a", "b"), np.array([[2, 2], [1, 1]]), np.full(6, 5, np.int32), np.full(6, 5, np.int32), ("", ""))
    made: SignalSource = module.Seen(("seen",), Context(None, cells))
    return made


def test_the_source_of_the_page_counts_rows() -> None:
    seen = source()
    assert seen.observes(1)
    seen.observe(Batch({}, {}, [[0, 3], [5]]))
    seen.observe(Batch({}, {}, [[1], [4]]))
    seen.gather()
    np.testing.assert_array_equal(seen.measure(1)["seen"], [3, 2])
    np.testing.assert_array_equal(seen.measure(2)["seen"], [0, 0])


def test_the_source_of_the_page_continues_from_a_checkpoint() -> None:
    seen, resumed = source(), source()
    seen.observe(Batch({}, {}, [[0, 5]]))
    seen.gather()
    resumed.load_state_dict(seen.state_dict())
    np.testing.assert_array_equal(resumed.measure(1)["seen"], [1, 1])
