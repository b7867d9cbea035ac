"""The JSON Schema of a config file, for editors: `hbo` strictly and method by method, every other key allowed."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from hbo_plugin.args import HBOConfig
from hbo_plugin.messages import yaml_text
from hbo_plugin.method_args import STATIC
from hbo_plugin.methods import METHODS, PARAMETERS, PUBLISHED, find_settings
from hbo_plugin.methods.parameters import defaults
from hbo_plugin.row_weights.dwm import DwmSettings
from hbo_plugin.row_weights.settings import CLASS_PATH, DWM, ColumnSettings

Schema = dict[str, Any]

SCHEMA_FILE = Path(__file__).with_name("hbo.schema.json")
"""The schema as the wheel ships it."""


def config_schema() -> Schema:
    """Return the schema of a whole config file of Axolotl: JSON Schema, draft 2020-12, and as good in draft 7.

    Whatever the code accepts it accepts, but for numbers that are written as strings, which the code reads as numbers.
    """
    keys = _keys()
    forms = [*((name, False) for name in METHODS), *((name, True) for name in PUBLISHED)]
    block: Schema = {
        "description": "What hbo does in this run. An empty block uses every default.",
        "type": ["object", "null"],
        "properties": keys,
        "allOf": [
            *(
                {"if": _is(name, published=form), "then": _only(name, list(keys), published=form)}
                for name, form in forms
            ),
            {
                "if": {"properties": {"method": {"pattern": CLASS_PATH}}, "required": ["method"]},
                "then": {
                    "properties": {"published": {"const": False}},
                    "propertyNames": {"enum": [*keys, *PARAMETERS]},
                },
            },
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An Axolotl config with hbo",
        "type": "object",
        "properties": {"hbo": block},
    }


def schema_text() -> str:
    """Return the schema as it stands in `SCHEMA_FILE`."""
    return json.dumps(config_schema(), indent=2, allow_nan=False) + "\n"


def _keys() -> dict[str, Schema]:
    """The keys of every run, each with its schema."""
    keys = _entries(HBOConfig.model_json_schema(), {name: key.default for name, key in HBOConfig.model_fields.items()})
    keys["method"] |= {"anyOf": [{"enum": list(METHODS)}, {"pattern": CLASS_PATH}]}
    number, auto, by_name = keys["max_epochs"]["anyOf"]
    cap = {"anyOf": [number, auto, {"type": "null"}]}
    keys["max_epochs"]["anyOf"] = [*cap["anyOf"], {**by_name, "additionalProperties": cap}]
    keys["row_weights"]["anyOf"] = _row_weights()
    return keys


def _row_weights() -> list[Schema]:
    """The forms of `row_weights`: a word, the path of a class, a block for either kind, or none."""
    learned = {"anyOf": [{"type": ["string", "null"]}, _block(DwmSettings)]}
    return [
        {"type": "string", "anyOf": [{"enum": [DWM]}, {"pattern": CLASS_PATH}]},
        {"type": "object", "properties": {DWM: learned}, "required": [DWM], "additionalProperties": False},
        _block(ColumnSettings),
        {"type": "null"},
    ]


def _block(settings: type) -> Schema:
    """A block whose keys are the fields of these settings."""
    written = TypeAdapter(settings).json_schema()
    entries = _entries(written, defaults(settings))
    required = written.get("required", [])
    return {"type": "object", "properties": entries, "required": required, "additionalProperties": False}


def _is(name: str, *, published: bool) -> Schema:
    """The condition that a block names this method, in this form."""
    form: Schema = {"properties": {"published": {"const": published}}} if name in PUBLISHED else {}
    form |= {"required": ["published"]} if published else {}
    named = {"properties": {"method": {"const": name}}, "required": ["method"]}
    unnamed, fixed = {"properties": {"method": False}}, {"required": ["weights"]}
    if name == STATIC:
        return {"type": "object", "anyOf": [named, {"allOf": [unnamed, fixed]}]}
    default = name == HBOConfig.model_fields["method"].default
    return {**form, "type": "object", "anyOf": [named, {"allOf": [unnamed, {"not": fixed}]}] if default else [named]}


def _only(name: str, keys: list[str], *, published: bool) -> Schema:
    """The parameters of a method in this form, beside the keys of every run; nothing else."""
    settings = find_settings(name, published=published)
    written = TypeAdapter(settings).json_schema()
    entries = _entries(written, defaults(settings))
    every = getattr(settings, "update_every", None)
    changed: dict[str, Schema] = {"update_every": {"default": every}} if every else {}
    if name not in PUBLISHED:
        changed["published"] = {"const": False}
    return {
        "properties": {**entries, **changed},
        "propertyNames": {"enum": [*(key for key in keys if key != "settings"), *entries]},
        "required": written.get("required", []),
    }


def _entries(written: Schema, defaults: dict[str, Any]) -> dict[str, Schema]:
    """The properties of a schema of pydantic's, without what no editor needs, and with defaults that JSON has."""
    entries = {}
    for name, entry in written.get("properties", {}).items():
        shared = written["$defs"][entry["$ref"].rsplit("/", 1)[1]] if "$ref" in entry else {}
        kept = _short({key: value for key, value in {**shared, **entry}.items() if key not in {"$ref", "default"}})
        default = defaults.get(name)
        try:
            json.dumps(default, allow_nan=False)
        except ValueError:  # infinite: JSON has no such number, so the reader finds it in the text
            kept["description"] += f" The default is {yaml_text(default)}."
        else:
            kept |= {} if default is None else {"default": default}
        entries[name] = kept
    return entries


def _short(schema: Any) -> Any:
    """The schema without what says nothing: pydantic's titles, which repeat the keys, and `additionalProperties: true`."""
    if isinstance(schema, dict):
        return {
            key: _short(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str)) and not (key == "additionalProperties" and value is True)
        }
    return [_short(value) for value in schema] if isinstance(schema, list) else schema
