"""The `hbo:` block: defaults, bounds, typos and refusals, each with its whole message."""

import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hbo_plugin.args import HBOConfig
from hbo_plugin.messages import nearest, yaml_text
from hbo_plugin.methods import PARAMETERS
from hbo_plugin.methods.static import Static
from hbo_plugin.row_weights.dwm import DwmSettings
from hbo_plugin.row_weights.settings import ColumnSettings, told

ROWS, NAMES = np.array([[1], [8]]), ("a", "b")


def sentence(error: pytest.ExceptionInfo[ValidationError]) -> str:
    return str(error.value.errors()[0]["msg"])


def refused(block: Any) -> str:
    """The message with which a block is refused."""
    with pytest.raises(ValidationError) as error:
        HBOConfig.model_validate(block)
    assert error.value.error_count() == 1
    return sentence(error).removeprefix("Value error, ")


def test_an_empty_block_is_enough() -> None:
    config = HBOConfig.model_validate({})
    assert (config.method, config.update_every, config.method_settings(), config.levels) == ("hbo", 100, {}, 4)


def test_every_key_is_described() -> None:
    assert all(field.description for field in HBOConfig.model_fields.values())


def test_no_parameter_of_a_method_has_the_name_of_a_run_s_key() -> None:
    assert not set(PARAMETERS) & set(HBOConfig.model_fields)


def test_published_hbo_has_the_published_defaults() -> None:
    config = HBOConfig.model_validate({"published": True})
    assert (config.update_every, config.method_settings()) == (200, {"published": True})
    config = HBOConfig.model_validate({"published": True, "update_every": 50, "prior": 10})
    assert (config.update_every, config.method_settings()) == (50, {"published": True, "prior": 10.0})
    assert HBOConfig.model_validate({"method": "mos", "published": True}).update_every == 100
    described = HBOConfig.model_fields["published"].description or ""
    assert "of `update_every` and `prior` become the published 200 and `proportional`, and" in described
    prior = config.model_copy(update={"published": True}).make_method(ROWS, NAMES, seed=0, batch=4).weights()
    assert prior.sum(axis=1).tolist() == pytest.approx([1 / (1 + 8**0.1), 8**0.1 / (1 + 8**0.1)])


@pytest.mark.usefixtures("their_methods")
@pytest.mark.parametrize(
    "block",
    [
        {},
        {"published": True},
        {"weights": {"a": 1, "b": 2}, "levels": 2},
        {"reward": {"local": "loss"}, "step_size": 1, "prior": float("inf")},
        {"max_epochs": None},
        {"method": "their_methods.Mine", "prior": 2, "settings": {"power": 3}},
        {"row_weights": "dwm"},
        {"row_weights": {"dwm": "network"}},
        {"row_weights": {"column": "quality", "normalise": False}},
        {"row_weights": "my_package.MyWeights"},
    ],
)
def test_what_axolotl_makes_of_a_block_is_the_same_block(block: dict[str, Any]) -> None:
    """It validates the block, dumps it without what is None, and the plugin validates that again."""
    config = HBOConfig.model_validate(block)
    again = HBOConfig.model_validate(config.model_dump(exclude_none=True))
    assert again == config
    assert again.method_settings() == config.method_settings()


def test_a_parameter_reaches_its_method_in_one_spelling() -> None:
    """Numbers are compared on resume as the method reads them: `1` is `1.0`."""
    config = HBOConfig.model_validate({"step_size": 1, "prior": "2e0", "reward": {"local": "loss"}})
    assert config.method_settings() == {
        "step_size": 1.0,
        "prior": 2.0,
        "reward": {"global": "gradient_norm", "local": "loss"},
    }
    assert config.make_method(ROWS, NAMES, seed=0, batch=4).signals == ("gradient_norm", "loss")


# Keys that are none, or stand in the wrong place


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("update_evry", "update_every"),
        ("level", "levels"),
        ("priors", "prior"),
        ("exponnent", "exponent"),
        ("wieghts", "weights"),
    ],
)
def test_a_typo_is_named_with_the_nearest_key(key: str, near: str) -> None:
    assert refused({key: 5}) == f"`hbo.{key}: 5` was given, but there is no such key; did you mean `{near}`?"


@pytest.mark.parametrize("key", ["temperature", "category", "reference", "rate", "strength", "smoothing", "lr"])
def test_nothing_far_is_suggested(key: str) -> None:
    """Old names of keys among them: they have no second life."""
    assert refused({key: 5}) == (
        f"`hbo.{key}: 5` was given, but there is no such key; `python -m hbo_plugin docs keys` lists the keys."
    )
    assert nearest("shares", HBOConfig.model_fields) is None


@pytest.fixture
def their_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of a user's, in a module that can be imported."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        power: float = 1.0
        prior: float = 3.0

    module = ModuleType("their_methods")
    module.__dict__["Mine"] = type("Mine", (Static,), {"Settings": Settings})
    monkeypatch.setitem(sys.modules, "their_methods", module)


PRIOR = "`proportional` or `uniform` or greater than 0 or a block of keys"
HBO_HAS = "`prior`, `step_size`, `floor`, `ema_decay`, `exponent`, `reward`"
MINE = {"method": "their_methods.Mine"}


@pytest.mark.usefixtures("their_methods")
@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (True, "`hbo: True` was given, but `hbo:` is a block of keys; leave it empty to use every default."),
        ({5: 1}, "`hbo.5: 5` was given, but that is no key; remove it."),
        (
            {"method": "static", "published": True},
            (
                "`hbo.published: true` was given with the method `static`, but only `hbo`, `mos`, `mos_plus`, "
                "`multidds`, `multiuat`, `tandem`, `scalebio` have a published form; remove it."
            ),
        ),
        (
            {"method": "mos_plus", "published": True, "step_size": 0.1},
            (
                "`hbo.step_size: 0.1` was given, but `mos_plus` with `published: true` has only `prior`, "
                "`ema_decay`; remove it."
            ),
        ),
        (
            {"method": "hbo", "weights": {"a": 1}},
            (
                "`hbo.weights: {a: 1}` fixes the mixture, but `hbo.method: hbo` moves it; write `prior:` in place of "
                "`weights:` for where it starts, or remove `method`."
            ),
        ),
        (
            {"prior": 2, "weights": {"a": 1}},
            (
                "`hbo.weights: {a: 1}` fixes the mixture, but `hbo.prior: 2` stands beside it; remove `prior` or "
                "`weights`."
            ),
        ),
        (
            {"method": "static", "step_size": 1},
            "`hbo.step_size: 1` was given, but `static` has only `prior`, `weights`; remove it.",
        ),
        (
            {"method": "replay", "prior": 2},
            "`hbo.prior: 2` was given, but `replay` has only `trace`; remove it.",
        ),
        (
            {"hold_steps": 0.5, "weights": {"a": 1}},
            "`hbo.hold_steps: 0.5` was given, but the weights of `method: static` always hold; remove it.",
        ),
        (
            {"step_size": 0.2, "settings": {"step_size": 0.9}},
            (
                "`hbo.settings: {step_size: 0.9}` was given, but it is only for a class of your own; "
                "put the parameters of `hbo` beside `method`."
            ),
        ),
        (
            {**MINE, "settings": {"prior": 2}},
            ("`hbo.settings.prior: 2` was given, but it stands beside `settings`; move it to `hbo.prior`."),
        ),
        (
            {**MINE, "power": 2},
            (
                "`hbo.power: 2` was given, but it is a parameter of a class of your own; "
                "move it to `hbo.settings.power`."
            ),
        ),
        (
            {**MINE, "settings": {"levels": 2}},
            ("`hbo.settings.levels: 2` was given, but `their_methods.Mine` has only `power`, `prior`; remove it."),
        ),
        (
            {**MINE, "settings": {"power": "two"}},
            (
                "`hbo.settings.power: two` was given, but it must be a valid number; "
                "change it, or remove it for the default of `1.0`."
            ),
        ),
        ({"method": "replay"}, "`hbo.trace` is missing, but it has no default; add it."),
    ],
)
def test_a_block_that_makes_no_sense(block: Any, expected: str) -> None:
    assert refused(block) == expected


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("update_every", 0, "greater than or equal to 1; change it, or remove it for the default of `100`"),
        ("prior", 0, f"{PRIOR}; change it, or remove it for the default of `3.0`"),
        ("prior", float("nan"), f"{PRIOR}; change it, or remove it for the default of `3.0`"),
        ("levels", 0, "greater than or equal to 1 or a block of keys; change it, or remove it for the default of `4`"),
        ("step_size", 0, "greater than 0; change it, or remove it for the default of `0.5`"),
        ("floor", 1.1, "less than or equal to 1; change it, or remove it for the default of `0.05`"),
        ("ema_decay", 1, "less than 1; change it, or remove it for the default of `0.5`"),
        ("seed", -1, "greater than or equal to 0; change it"),
        ("seed", 2**63, f"less than {2**63}; change it"),
        ("unit", "sample", "`row`, `token` or `trained_token`; change it, or remove it for the default of `row`"),
        ("record_rows", "perhaps", "a valid boolean; change it, or remove it for the default of `false`"),
        (
            "max_epochs",
            -1,
            "greater than 0 or `auto` or a block of keys; change it, or remove it for the default of `4.0`",
        ),
        *(
            (key, 2**63, f"less than {2**63}; change it, or remove it for the default of `{default}`")
            for key, default in (("update_every", 100), ("gradient_rows", 32), ("forward_rows", 16))
        ),
    ],
)
def test_bounds(key: str, value: float, allowed: str) -> None:
    assert refused({key: value}) == f"`hbo.{key}: {yaml_text(value)}` was given, but it must be {allowed}."


def test_the_deepest_mistake_is_named() -> None:
    assert refused({"max_epochs": {"a": 1, "b": 0}}) == (
        "`hbo.max_epochs.b: 0` was given, but it must be greater than 0 or `auto`; change it."
    )


# Row weights


LEARNING = (
    "{dwm: {path: null, refresh_every: 40, start: 0.05, stages: null, passes: 2, learning_rate: 0.005, l2: 0.1, lowest: 0.2, "
    "highest: 2.0}}"
)
LEARNS = "a network that learns every 40 steps, from the gradient of held-out rows"


@pytest.mark.parametrize(
    ("given", "expected", "written", "words"),
    [
        ("dwm", DwmSettings(), LEARNING, LEARNS),
        ({"dwm": None}, DwmSettings(), LEARNING, LEARNS),
        ({"dwm": {}}, DwmSettings(), LEARNING, LEARNS),
        ({"dwm": "net"}, DwmSettings(path="net"), LEARNING.replace("null", "net", 1), "the network in `net`"),
        ({"dwm": {"path": "net"}}, DwmSettings(path="net"), LEARNING.replace("null", "net", 1), "the network in `net`"),
        ("my_package.MyWeights", "my_package.MyWeights", "my_package.MyWeights", "the class `my_package.MyWeights`"),
        (
            {"column": "quality"},
            ColumnSettings(column="quality"),
            "{column: quality, normalise: true}",
            "the column `quality`, divided by its mean over each step",
        ),
        (
            {"column": "quality", "normalise": False},
            ColumnSettings(column="quality", normalise=False),
            "{column: quality, normalise: false}",
            "the column `quality`",
        ),
    ],
)
def test_row_weights_have_one_form_in_which_they_are_compared(
    given: Any, expected: object, written: str, words: str
) -> None:
    config = HBOConfig.model_validate({"row_weights": given})
    assert config.row_weights == expected
    assert config.row_weights is not None
    assert told(config.row_weights) == words
    assert config.effective()["row_weights"] == written


def test_no_row_weights_is_the_default() -> None:
    for block in ({}, {"row_weights": None}):
        config = HBOConfig.model_validate(block)
        assert config.row_weights is None
        assert config.effective()["row_weights"] == "null"


NO_ROW_WEIGHTS: list[Any] = ["quality", "", 5, True, [], {}, "my package.MyWeights", "my_package.MyWeights\n"]
ROW_WEIGHTS = (
    "was given, but it must be `dwm`, `{column: NAME}`, or the dotted path of a class, as in `my_package.MyWeights`;"
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dmw", f": dmw` {ROW_WEIGHTS} did you mean `dwm`?"),
        *(
            (wrong, f": {yaml_text(wrong)}` {ROW_WEIGHTS} change it, or remove it for rows that all count alike.")
            for wrong in NO_ROW_WEIGHTS
        ),
        ({"colum": "quality"}, ".colum: quality` was given, but there is no such key; did you mean `column`?"),
        ({"column": "quality", "floor": 1}, ".floor: 1` was given, but there is no such key; remove it."),
        ({"normalise": False}, ".column` is missing, but it has no default; add it."),
        ({"column": 5}, ".column: 5` was given, but it must be a valid string; change it."),
        (
            {"column": "quality", "normalise": "perhaps"},
            (
                ".normalise: perhaps` was given, but it must be a valid boolean; change it, or remove it for the default of "
                "`true`."
            ),
        ),
        (
            {"column": "quality", "dwm": {}},
            (
                ": {column: quality, dwm: {}}` was given, but rows are weighed by `column` or by `dwm`, not by both; remove "
                "one of them."
            ),
        ),
        ({"dwm": {}, "normalise": True}, ".normalise: true` was given, but there is no such key; remove it."),
        ({"dwm": {"pth": "x"}}, ".dwm.pth: x` was given, but there is no such key; did you mean `path`?"),
        ({"dwm": {"path": 5}}, ".dwm.path: 5` was given, but it must be a valid string; change it."),
        (
            {"dwm": {"path": "x.json", "l2": 0.5, "stages": 5}},
            (
                ".dwm.path` gives a finished network, which learns no more, so `stages`, `l2` would do nothing; remove them."
            ),
        ),
        ({"dwm": 5}, ".dwm: 5` was given, but it must be the path of a network, or a block of keys; change it."),
    ],
)
def test_row_weights_that_make_no_sense(given: Any, expected: str) -> None:
    assert refused({"row_weights": given}) == f"`hbo.row_weights{expected}"


@pytest.mark.axolotl
def test_axolotl_refuses_before_it_loads_anything(make_config: Any, tmp_path: Path) -> None:
    from runs import load

    with pytest.raises(ValidationError, match="packs rows in the order of the data"):
        load(make_config(sample_packing=True, sample_packing_sequentially=True), tmp_path)
    with pytest.raises(ValidationError, match="did you mean `levels`"):
        load(make_config(hbo={"level": 3}), tmp_path)


@pytest.mark.axolotl
def test_a_block_left_empty_means_every_default(make_config: Any, tmp_path: Path) -> None:
    from runs import load

    config = make_config()
    config["hbo"] = None
    assert load(config, tmp_path).hbo.update_every == 100


@pytest.mark.axolotl
def test_a_lifted_cap_stays_lifted(make_config: Any, tmp_path: Path) -> None:
    """Axolotl drops a key whose value is None."""
    from runs import load

    assert load(make_config(hbo={"max_epochs": None}), tmp_path).hbo.max_epochs == float("inf")
    laps = {"sums": None, "words": 2}
    assert load(make_config(hbo={"max_epochs": laps}), tmp_path).hbo.max_epochs == {"sums": float("inf"), "words": 2.0}


@pytest.mark.parametrize(
    ("block", "average", "cap", "noted"),
    [
        ({}, 1.5, 4.0, False),
        ({}, 5.25, 5.25, True),
        ({"max_epochs": 3}, 5.25, 3.0, False),
        ({"max_epochs": {"b": 3}}, 5.25, 5.25, False),
        ({"method": "static"}, 5.25, 5.25, True),
        ({"method": "static", "prior": {"a": 1, "b": 2}}, 5.25, float("inf"), False),
        ({"prior": {"a": 1, "b": 2}}, 1.5, 4.0, False),
        ({"weights": {"a": 1, "b": 2}}, 5.25, float("inf"), False),
    ],
)
def test_the_default_cap_is_not_below_the_average(
    block: dict[str, Any],
    average: float,
    cap: float,
    noted: bool,  # noqa: FBT001 a case
) -> None:
    config = HBOConfig.model_validate(block)
    assert config.epochs_of(["a"], average) == [cap]
    notes = config.notes_on_cap(average)
    assert notes == (
        [
            (
                "the run goes through its whole mixture 5.2 times, which is then the default of `max_epochs`, so each dataset "
                "follows its size; set `max_epochs` higher for other shares"
            )
        ]
        if noted
        else []
    )
