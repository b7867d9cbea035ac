"""The tables of docs/methods.md, made from the code. Run this file to write them into the page."""

import inspect
import re
from dataclasses import fields
from pathlib import Path

from method_cases import FORMS, ROWS, build
from pydantic import TypeAdapter

from hbo_plugin.messages import yaml_text
from hbo_plugin.methods import METHODS, SIGNALS, find_settings
from hbo_plugin.methods.parameters import defaults
from hbo_plugin.signals.table import cost

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def _called(form: str) -> str:
    """A method, or its published form, as a user writes it."""
    name, _, published = form.partition(" ")
    return f"`{name}`, `published: true`" if published else f"`{name}`"


def _settings(form: str) -> type:
    name, _, published = form.partition(" ")
    return find_settings(name, published=bool(published))


def methods_table() -> str:
    """Every method with the first sentence and the source of its docstring, its signals by default, and its parameters."""
    lines = ["| `method` | weights | source | signals | parameters with defaults |", "|---|---|---|---|---|"]
    for form in sorted(FORMS, key=lambda form: list(METHODS).index(form.split()[0])):
        name, _, published = form.partition(" ")
        words = " ".join((inspect.getdoc(METHODS[name]) or "").split())
        about = "The same, with the published actor." if published else re.split(r"(?<=\.) ", words)[0]
        own = " ".join((inspect.getdoc(_settings(form)) or "").split())
        (source,) = re.findall(r"Source: (.*)\.$", own if "Source:" in own else words)
        signals = ", ".join(f"`{signal}`" for signal in build(form, ROWS).signals)
        known = defaults(_settings(form))
        parameters = ", ".join(
            f"`{field.name}: {yaml_text(known[field.name])}`" if field.name in known else f"`{field.name}` (required)"
            for field in fields(_settings(form))
        )
        lines.append(f"| {_called(form)} | {about} | {source} | {signals} | {parameters} |")
    return "\n".join(lines)


def parameters_table() -> str:
    """Every meaning of a parameter with the values that it allows, and the methods that have it."""
    rows: dict[tuple[str, str, str], dict[str, None]] = {}
    for form in FORMS:
        schema = TypeAdapter(_settings(form)).json_schema()
        for name, entry in schema.get("properties", {}).items():
            methods = rows.setdefault((name, _allowed(entry), entry["description"]), {})
            methods[f"`{form.split()[0]}`"] = None
    lines = ["| parameter | values | meaning | methods |", "|---|---|---|---|"]
    # All meanings of a name stand together, in the order in which the methods bring the names.
    order = list(dict.fromkeys(name for name, *_ in rows))
    for (name, allowed, meaning), methods in sorted(rows.items(), key=lambda row: order.index(row[0][0])):
        lines.append(f"| `{name}` | {allowed} | {meaning} | {', '.join(methods)} |")
    return "\n".join(lines)


def _allowed(entry: dict[str, object]) -> str:
    """The values that a parameter allows, from its schema."""
    if "enum" in entry:
        values = entry["enum"]
        assert isinstance(values, list)
        return ", ".join(f"`{value}`" for value in values)
    if "anyOf" in entry:
        either = entry["anyOf"]
        assert isinstance(either, list)
        return ", or ".join(dict.fromkeys(_allowed(each) for each in either if each.get("type") != "null"))
    words = {
        "minimum": "{:g} or more",
        "exclusiveMinimum": "above {:g}",
        "maximum": "at most {:g}",
        "exclusiveMaximum": "below {:g}",
    }
    bounds = ", ".join(text.format(entry[key]) for key, text in words.items() if key in entry)
    kind = {"boolean": "`true`, `false`", "integer": "a whole number", "string": "a path", "array": "a list"}
    return ", ".join(part for part in (kind.get(str(entry.get("type")), ""), bounds) if part) or "a block of keys"


COUNTED = {
    "forward_rows": "`forward_rows`",
    "gradient_rows": "`gradient_rows`",
    "twin_every": "`twin_every`",
    "branches": "branches of `branch_steps` steps, one for each dataset that does not count and three as the run is",
    "copy_rows": "`copy_steps` x `gradient_rows` x (1 + 2 x sets of the target)",
}
"""How many rows are measured, and how many branches."""


def signals_table() -> str:
    """Every signal with its kind and meaning, and what it costs from each of its sources."""
    lines = ["| signal | one value a | meaning | unit | cost |", "|---|---|---|---|---|"]
    for name, signal in SIGNALS.items():
        kind = {"target": "dataset and held-out set"}.get(signal.shape, signal.shape)
        costs = ", or ".join(f"`{source}`: {cost(needs, **COUNTED)}" for source, needs in signal.sources.items())
        lines.append(f"| `{name}` | {kind} | {signal.meaning} | {signal.unit} | {costs} |")
    return "\n".join(lines)


def details() -> str:
    """What the docstring of every method says, and that of the published form of HBO."""
    parts = []
    for name, method in METHODS.items():
        about = inspect.getdoc(method) or ""
        signals = ", ".join(f"`{signal}`" for signal in build(name, ROWS).signals)
        parts.append(f"### {name}\n\n{about}" + (f"\n\nSignals: {signals}." if signals else ""))
        form = f"{name} published"
        if form in FORMS:
            own = inspect.getdoc(_settings(form)) or ""
            own = f"{own}\n\n" if "Source:" in own else ""
            signals = ", ".join(f"`{signal}`" for signal in build(form, ROWS).signals)
            parts.append(f"#### {name} with `published: true`\n\n{own}Signals: {signals}.")
    return "\n\n".join(parts)


TABLES = {"methods": methods_table, "parameters": parameters_table, "signals": signals_table, "details": details}


def marked(name: str, table: str) -> str:
    """A table as it stands in the page, between comments that no reader sees."""
    return f"<!-- {name}: written by tests/helpers/methods_page.py -->\n\n{table}\n\n<!-- end of {name} -->"


def write() -> None:
    """Put the tables into the page."""
    text = PAGE.read_text()
    for name, table in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name}:")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        assert end, name
        text = before + marked(name, table()) + after
    PAGE.write_text(text)


if __name__ == "__main__":
    write()
