"""The `hbo:` block: defaults, bounds, typos and refusals, each with its whole sentence."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hbo_plugin.args import HBOConfig


def sentence(error: pytest.ExceptionInfo[ValidationError]) -> str:
    return str(error.value.errors()[0]["msg"])


def test_an_empty_block_is_enough() -> None:
    config = HBOConfig.model_validate({})
    assert (config.method, config.update_every, config.method_settings(), config.levels) == ("hbo", 100, {}, 4)


def test_every_key_is_described() -> None:
    assert all(field.description for field in HBOConfig.model_fields.values())


def test_the_reference_has_the_published_defaults() -> None:
    config = HBOConfig.model_validate({"reference": True})
    assert (config.update_every, config.method_name) == (200, "hbo_reference")
    config = HBOConfig.model_validate({"reference": True, "update_every": 50, "temperature": 10})
    assert (config.update_every, config.method_settings()) == (50, {"temperature": 10.0})
    assert HBOConfig.model_validate(config.model_dump(exclude_none=True)) == config


def test_a_typo_is_named_with_the_nearest_key() -> None:
    with pytest.raises(ValidationError) as error:
        HBOConfig.model_validate({"update_evry": 5})
    assert sentence(error) == (
        "Value error, `hbo:` has no key `update_evry`; the nearest is `update_every`. Its keys are "
        + ", ".join(f"`{name}`" for name in HBOConfig.model_fields)
        + "."
    )


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            True,
            "`hbo: True` was given, but `hbo:` is a block of keys; leave it empty to use every default.",
        ),
        (
            {"names": ["a", "a"]},
            "`hbo.names: ['a', 'a']` holds a name twice; give every dataset a name of its own.",
        ),
        (
            {"method": "uniform", "reference": True},
            "`hbo.reference` is no setting of the method `uniform`, which has none; remove it.",
        ),
        (
            {"method": "mos_plus", "reference": True, "rate": 0.1},
            (
                "`hbo.rate` is no setting of the method `mos_plus` with `reference: true`, whose nearest is `temperature`; "
                "it has `temperature`, `smoothing`, `reference`."
            ),
        ),
        (
            {"method": "capped", "settings": {"limits": 3}},
            "`hbo.settings.limits` is no setting of the method `capped`, whose nearest is `limit`; it has `limit`.",
        ),
        (
            {"method": "replay", "settings": {"names": ["a"]}},
            "`hbo.settings.names` is no setting of the method `replay`, whose nearest is `trace`; it has `trace`.",
        ),
    ],
)
def test_a_block_that_makes_no_sense(block: Any, expected: str) -> None:
    with pytest.raises(ValidationError) as error:
        HBOConfig.model_validate(block)
    assert sentence(error) == f"Value error, {expected}"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("update_every", 0),
        ("temperature", 0),
        ("temperature", float("nan")),
        ("levels", 0),
        ("rate", 0),
        ("floor", 1.1),
        ("smoothing", 1),
        ("seed", -1),
        *((key, 2**63) for key in ("update_every", "levels", "gradient_rows", "forward_rows", "seed")),
    ],
)
def test_bounds(key: str, value: float) -> None:
    with pytest.raises(ValidationError) as error:
        HBOConfig.model_validate({key: value})
    assert error.value.errors()[0]["loc"][0] == key


@pytest.mark.axolotl
def test_axolotl_refuses_before_it_loads_anything(make_config: Any, tmp_path: Path) -> None:
    from runs import load

    with pytest.raises(ValidationError, match="packs rows in the order of the data"):
        load(make_config(sample_packing=True, sample_packing_sequentially=True), tmp_path)
    with pytest.raises(ValidationError, match="the nearest is `levels`"):
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
