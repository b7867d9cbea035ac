"""The JSON Schema for editors: it is the code's, and it says of a config what the code says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from method_cases import FORMS, ROWS, needed
from pydantic import ValidationError

from hbo_plugin.args import HBOConfig
from hbo_plugin.methods import METHODS, PARAMETERS, find_settings
from hbo_plugin.methods.parameters import parameters, plain, read_settings
from hbo_plugin.schema import SCHEMA_FILE, config_schema, schema_text

SCHEMA = config_schema()
CONFIGS = sorted((Path(__file__).parents[1] / "axolotl_configs").glob("*.yml"))


def accepts(config: Any) -> bool:
    """What the schema says."""
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(config))


def code_accepts(block: Any) -> bool:
    try:
        HBOConfig.model_validate(block)
    except ValidationError:
        return False
    return True


def block_of(form: str, folder: Path) -> dict[str, Any]:
    """The smallest block of a method, or of its published form."""
    name, _, published = form.partition(" ")
    required = {key: str(value) if key == "trace" else value for key, value in needed(name, ROWS, folder).items()}
    return {"method": name, **({"published": True} if published else {}), **required}


def test_the_file_is_the_code_s() -> None:
    """It holds what `schema_text` returns."""
    assert json.loads(SCHEMA_FILE.read_text()) == json.loads(schema_text())


@pytest.mark.parametrize("draft", [jsonschema.Draft202012Validator, jsonschema.Draft7Validator])
def test_it_is_a_schema(draft: Any) -> None:
    draft.check_schema(SCHEMA)
    assert draft(SCHEMA).is_valid({"hbo": {"levels": 2}})
    assert not draft(SCHEMA).is_valid({"hbo": {"level": 2}})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(config)
    assert not accepts({**config, "hbo": {**(config.get("hbo") or {}), "levles": 2}})


def test_there_are_configs() -> None:
    assert len(CONFIGS) > 3


@pytest.mark.parametrize("form", FORMS)
def test_a_method_has_its_parameters_and_no_others(form: str, tmp_path: Path) -> None:
    name, _, published = form.partition(" ")
    block = block_of(form, tmp_path)
    assert accepts({"hbo": block})
    assert code_accepts(block)
    settings = find_settings(name, published=bool(published))
    values = plain(read_settings(settings, needed(name, ROWS, tmp_path)))
    assert accepts({"hbo": {**block, **values}})
    for parameter in PARAMETERS:
        if parameter not in parameters(settings):
            with_another = {**block, parameter: 0.5}
            assert not accepts({"hbo": with_another}), parameter
            assert not code_accepts(with_another), parameter


@pytest.mark.parametrize("form", FORMS)
def test_the_defaults_are_those_of_the_method(form: str, tmp_path: Path) -> None:
    """In each branch of the schema that applies to the method: one, and its defaults are what the method gets."""
    name, _, published = form.partition(" ")
    block = block_of(form, tmp_path)
    branches = [
        branch["then"]
        for branch in SCHEMA["properties"]["hbo"]["allOf"]
        if jsonschema.Draft202012Validator(branch["if"]).is_valid(block)
    ]
    assert len(branches) == 1
    values = plain(read_settings(find_settings(name, published=bool(published)), needed(name, ROWS, tmp_path)))
    stated = {key: branches[0]["properties"][key] for key in values}
    for key, entry in stated.items():
        if key in needed(name, ROWS, tmp_path):
            assert "default" not in entry
            assert key in branches[0]["required"]
        elif values[key] is None:
            assert "default" not in entry
        else:
            assert entry["default"] == values[key], key
    every = branches[0]["properties"].get("update_every", {"default": 100})["default"]
    assert HBOConfig.model_validate(block).update_every == every


def test_the_defaults_of_the_run_are_the_code_s() -> None:
    stated = SCHEMA["properties"]["hbo"]["properties"]
    assert set(stated) == set(HBOConfig.model_fields)
    config = HBOConfig.model_validate({})
    for key, entry in stated.items():
        assert entry.get("default") == getattr(config, key), key
        assert entry["description"] == HBOConfig.model_fields[key].description


@pytest.mark.parametrize(
    ("block", "valid"),
    [
        (None, True),
        ({}, True),
        (True, False),
        ([], False),
        ({"method": "hbo", "published": False}, True),
        ({"method": "static", "published": False}, True),
        ({"method": "static", "published": True}, False),
        ({"published": True, "step_size": 0.5}, False),
        ({"step_size": 0.5}, True),
        ({"step_size": 0}, False),
        ({"step_size": 1.5}, False),
        ({"step_size": "x"}, False),
        ({"floor": None}, False),
        ({"prior": float("inf")}, True),
        ({"prior": "uniform"}, True),
        ({"prior": "even"}, False),
        ({"prior": {"a": 1, "b": 2}}, True),
        ({"prior": {"a": -1}}, False),
        ({"reward": {"local": "loss"}}, True),
        ({"reward": {"local": "gradient_norm"}}, False),
        ({"reward": {"globl": "loss"}}, False),
        ({"reward": "loss"}, False),
        ({"method": "mos", "reward": "similarity"}, True),
        ({"method": "mos", "reward": {"global": "loss"}}, False),
        ({"method": "replay"}, False),
        ({"weights": {"a": 1, "b": 0}}, True),
        ({"weights": [{"until": 0.8, "a": 1}, {"a": 2}]}, True),
        ({"method": "static", "weights": {"a": 1}}, True),
        ({"method": "hbo", "weights": {"a": 1}}, False),
        ({"weights": {"a": 1}, "step_size": 0.5}, False),
        ({"weights": {"a": -1}}, False),
        ({"method": "static", "prior": "proportional"}, True),
        ({"method": "static", "settings": {"prior": 2}}, False),
        ({"settings": {}}, False),
        ({"method": "no_such_method"}, False),
        ({"method": "hbo_reference"}, False),
        ({"reference": True}, False),
        ({"unit": "sample"}, False),
        ({"max_epochs": None}, True),
        ({"max_epochs": {"a": None, "b": 2, "c": "auto"}}, True),
        ({"max_epochs": "auto"}, True),
        ({"max_epochs": "automatic"}, False),
        ({"max_epochs": {"a": 0}}, False),
        ({"max_laps": 3}, False),
        ({"levels": 0}, False),
        ({"names": ["a", "b"]}, True),
        ({"names": [1]}, False),
        ({"seed": None}, True),
        ({"val_set_size": {"a": 0.1}}, True),
        ({"row_weights": None}, True),
        ({"row_weights": "dwm"}, True),
        ({"row_weights": "dmw"}, False),
        ({"row_weights": "my_package.MyWeights"}, True),
        ({"row_weights": {"dwm": None}}, True),
        ({"row_weights": {"dwm": "network"}}, True),
        ({"row_weights": {"dwm": {"path": "network"}}}, True),
        ({"row_weights": {"dwm": {"pth": "network"}}}, False),
        ({"row_weights": {"dwm": 5}}, False),
        ({"row_weights": {"column": "quality"}}, True),
        ({"row_weights": {"column": "quality", "normalise": False}}, True),
        ({"row_weights": {"column": "quality", "dwm": "network"}}, False),
        ({"row_weights": {"normalise": False}}, False),
        ({"row_weights": {}}, False),
        ({"row_weights": 5}, False),
    ],
)
def test_it_agrees_with_the_code(block: Any, valid: bool) -> None:  # noqa: FBT001 a case, not a switch
    assert accepts({"hbo": block, "anything": {"of": "Axolotl"}}) == valid
    assert code_accepts(block) == valid


def test_a_class_of_ones_own_has_any_settings() -> None:
    """What they are is known when the class is imported, so the schema knows only what stands beside `settings`."""
    assert accepts({"hbo": {"method": "my_package.HighLoss", "settings": {"power": 2}, "prior": 2, "levels": 2}})
    assert not accepts({"hbo": {"method": "my_package.HighLoss", "power": 2}})
    assert not accepts({"hbo": {"method": "my_package.HighLoss", "published": True}})
    assert not accepts({"hbo": {"method": "my package.HighLoss"}})


def test_every_method_is_named() -> None:
    assert SCHEMA["properties"]["hbo"]["properties"]["method"]["anyOf"][0]["enum"] == list(METHODS)
