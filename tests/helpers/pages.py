"""Traces that fill a page, and what a page says, read back."""

import json
import math
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from traces import state, write

from hbo_plugin.trace import COSTS_FILE, JsonLines

Config = dict[str, Any]
HOSTILE = "<script>alert('x')</script> & <b>bold</b> `code` " + "a-long-name/" * 9


def course(names: list[str], updates: int, *, levels: int = 2, every: int = 10, ended: bool = True) -> list[Config]:
    """The records of a run with all that a page shows; the held-out loss of the second dataset rises from its middle on."""
    records: list[Config] = []
    for number in range(updates + 1):
        step, part = number * every, number / max(1, updates)
        raw = {name: 1 + index + math.sin(part * 5 + index) for index, name in enumerate(names)}
        total = sum(raw.values()) * levels
        record = state(step, "update", {name: [weight / total] * levels for name, weight in raw.items()})
        record["capped"] = {name: [index == 1 and part > 0.5] * levels for index, name in enumerate(names)}
        record |= {"efficiency": 0.9 + part / 20, "delay_rows": 8}
        record["signals"] = {
            "gradient_norm": {name: 1 / (1 + part + index) for index, name in enumerate(names)},
            "loss": {name: [2 - part, None, *[1.5] * levels][:levels] for name in names},
            "branch_effect": {name: {"tests": 0.1 - part} for name in names},
            "branch_error": {name: {"tests": 0.02} for name in names},
        }
        if number == 0:
            record = {key: record[key] for key in record.keys() - {"signals", "efficiency", "delay_rows"}}
            prior = {name: sum(record["weights"][name]) for name in names}
            caps = {name: 4.0 if index else None for index, name in enumerate(names)}
            record |= {"event": "start", "steps": updates * every, "prior": prior, "max_epochs": caps}
            record |= {
                "config": {"method": "hbo", "levels": str(levels)},
                "notes": ["`a` note"],
                "versions": {"hbo": "1"},
            }
        records.append(record)
        if number % max(1, updates // 10) == 0:
            losses = {
                name: 2 - part + (2 * max(0, part - 0.5) if index == 1 else 0) for index, name in enumerate(names)
            }
            told = {
                "held_out": losses,
                "tied": {name: name for name in names},
                "target": sum(losses.values()) / len(names),
            }
            trained = dict.fromkeys(names, 1.9 - part) if number else {}
            records.append({"step": step, "event": "evaluate", **told, "training_loss": trained})
    weights = {"mean": 1.0, "std": 0.5, "effective": 0.8, "zero": 0.0, "with_loss": 0.1, "cells": {}, "lowest": []}
    records.append({"step": step, "event": "row_weights", **weights, "datasets": dict.fromkeys(names, 1.125)})
    end = {key: record[key] for key in record.keys() - {"signals", "delay_rows"}} | {"event": "end"}
    return [*records, end] if ended else records


def written(folder: Path, records: list[Config]) -> Path:
    """The output folder of a run with these records, and with its costs."""
    costs = JsonLines(write(folder, *records) / COSTS_FILE)
    costs.append({"step": 1, "elapsed": 12.5, "seconds": {"sampling": 0.25, "loading": 1.0, "signals": 0.5}})
    return folder


class _Tables(HTMLParser):
    """Collects the tables of a page: by name, row and header the number where a cell has one, else its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[tuple[str, list[str], list[list[Any]]]] = []
        self._cell = False

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        of = dict(attributes)
        if tag == "table":
            self.tables.append((of["data-name"], [], []))
        elif tag == "tr" and self.tables:
            self.tables[-1][2].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][2][-1].append(float(of["data-value"]) if "data-value" in of else "")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in {"td", "th"}

    def handle_data(self, data: str) -> None:
        if self._cell and isinstance(self.tables[-1][2][-1][-1], str):
            self.tables[-1][2][-1][-1] += data


def tables(page: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The numbers and texts of a page by table, row and column."""
    parser = _Tables()
    parser.feed(page)
    found = {}
    for name, _, (headers, *rows) in parser.tables:
        found[name] = {row[0]: dict(zip(headers[1:], row[1:], strict=True)) for row in rows}
    return found


def figures(page: str) -> dict[str, Config]:
    """What plotly is given for each figure, by its title."""
    pattern = r'aria-label="([^"]*)"><script type="application/json">(.*?)</script>'
    return {unescape(title): json.loads(source) for title, source in re.findall(pattern, page)}
