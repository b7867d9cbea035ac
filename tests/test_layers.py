"""The layers of the package: which file may import which, and how long a file may be."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "hbo_plugin"

# From the ground up. A file imports from its own row and from the rows above it in this table, never from those below.
# Imports for type checkers alone count too: whoever reads the file has to know what they name.
LAYERS = (
    ("_sampler",),  # compiled
    (
        *(
            "cells",
            "classes",
            "clock",
            "compat",
            "compat_rows",
            "devices",
            "generation",
            "history",
            "messages",
            "numbers",
            "outputs",
            "packing",
            "rank_share",
            "ranks",
            "row_sampler",
        ),
        *("trace", "user_errors", "signals.table"),
    ),
    ("overrides",),
    (
        "methods",
        "row_weights.base",
        "row_weights.column",
        "row_weights.dwm",
        "row_weights.network",
        "row_weights.settings",
    ),  # NumPy only; of signals they know the table
    (
        "args",
        "features",
        "input_args",
        "kinds",
        "method_args",
        "options",
    ),  # the keys of the `hbo:` block: it asks methods for their settings, and everything from here on reads it; and what of
    # them, and of Axolotl's, works in which kind of training
    ("schema", "signals"),
    ("data",),
    ("row_weights",),
    ("training",),
    ("report", "setup"),
    ("callback", "trainer", "check", "score"),
    ("compare",),
    ("search",),
    ("plugin", "cli", "__main__"),
    ("hbo_plugin",),  # the names that users import
    ("bench",),
)
LONGEST = 250
"""Lines of a file."""


def modules() -> dict[str, Path]:
    """Every module by its name inside the package; the package itself is `hbo_plugin`."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts) or PACKAGE.name] = path
    return found


def imported(path: Path) -> Iterator[str]:
    """The full name of everything that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows() -> dict[str, set[str]]:
    """The modules of the package that each of them imports."""
    known = modules()
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for full in imported(path):
            if full == PACKAGE.name or full.startswith(f"{PACKAGE.name}."):
                inside = full.removeprefix(PACKAGE.name).removeprefix(".")
                module = inside if inside in known else inside.rpartition(".")[0]  # a module, or a name in one
                graph[name].add(module or PACKAGE.name)
    return graph


def row(module: str) -> int:
    """Where a module stands; its own entry in the table comes before that of its folder."""
    names = [module, module.partition(".")[0]]
    rows = [number for name in names for number, layer in enumerate(LAYERS) if name in layer]
    assert rows, f"`{module}` stands in no row of LAYERS"
    return rows[0]


def test_no_import_points_up() -> None:
    graph = arrows()
    assert "methods.base" in graph["methods.static"]
    assert "plugin" in graph["hbo_plugin"]
    up = [f"{name} -> {other}" for name, others in graph.items() for other in others if row(other) > row(name)]
    assert up == []


def test_no_imports_form_a_circle() -> None:
    TopologicalSorter(arrows()).prepare()  # a CycleError names the files


def test_no_file_is_long() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
