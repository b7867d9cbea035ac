"""The table of kinds: each cell is run or refused. What is refused, and with which words."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from hbo_plugin import kinds
from hbo_plugin.args import HBOConfig
from hbo_plugin.features import FEATURES
from hbo_plugin.input_args import HBOArgs
from hbo_plugin.kinds import ASYNC, KINDS, REFUSED

ASKED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "methods": ({}, {"method": "hbo"}, "hbo.method: hbo"),
    "max_epochs_auto": ({}, {"max_epochs": {"a": "auto"}}, "hbo.max_epochs: auto"),
    "model_scores": ({}, {"levels": 2, "difficulty": "ifd"}, "hbo.difficulty: ifd"),
    "margin": ({}, {"levels": 2, "difficulty": "margin"}, "hbo.difficulty: margin"),
    "token": ({}, {"unit": "token"}, "hbo.unit: token"),
    "trained_token": ({}, {"unit": "trained_token"}, "hbo.unit: trained_token"),
    "target": ({}, {"target": ["a"]}, "hbo.target: [a]"),
    "record_steering": ({}, {"record_steering": True}, "hbo.record_steering: true"),
    "row_weights": ({}, {"row_weights": {"column": "w"}}, "hbo.row_weights"),
    "packing": ({"sample_packing": True}, {}, "sample_packing: true"),
}
"""For each feature that a kind may lack: Axolotl's options and the keys of `hbo:` that ask for it, and how they are quoted."""
LACKING = [(name, feature) for name, kind in KINDS.items() for feature in FEATURES if feature in kind.lacks]


def asked(cfg: dict[str, Any], block: dict[str, Any]) -> tuple[Any, HBOConfig]:
    from axolotl.utils.dict import DictDefault

    return DictDefault(cfg), HBOConfig.model_validate({"method": "static", **block})


def options(name: str) -> dict[str, Any]:
    return {"rl": name} if not name.startswith(("reward", "process")) else {name: True}


@pytest.mark.axolotl
@pytest.mark.parametrize(("name", "feature"), LACKING)
def test_a_feature_that_a_kind_lacks_is_refused_by_name(name: str, feature: str) -> None:
    """Which features run in a kind, and that they do, is in test_pairs.py and test_grpo.py."""
    cfg, block, quoted = ASKED[feature]
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        kinds.refuse(*asked({**options(name), **cfg}, block))
    why, instead = FEATURES[feature].why, FEATURES[feature].instead
    where = f"`{KINDS[name].written}`" if name else "supervised fine-tuning"
    assert str(error.value) == f"`{quoted}` cannot be used with {where}, where {why}; {instead}."
    kinds.refuse(*asked(options(name), {}))


@pytest.mark.axolotl
@pytest.mark.parametrize("feature", [each for each in ASKED if each != "margin"])
def test_supervised_training_lacks_nothing_but_pairs(feature: str) -> None:
    cfg, block, _ = ASKED[feature]
    kinds.refuse(*asked(cfg, block))


def test_all_that_a_kind_lacks_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)`hbo\.unit: trained_token`.*`hbo\.target: \[a\]`"):
        kinds.refuse(*asked({"rl": "dpo"}, {"target": ["a"], "unit": "trained_token"}))


def test_a_model_scores_nothing_where_there_is_one_level() -> None:
    kinds.refuse(*asked({"rl": "dpo"}, {"difficulty": "loss"}))


@pytest.mark.parametrize("name", [*REFUSED, "new"])
def test_a_kind_that_is_not_trained_says_why(name: str) -> None:
    data: dict[str, Any] = {"rl": name}
    if name == "async":
        data = {"rl": "grpo", "trl": {ASYNC[1]: True}}
    with pytest.raises(ValidationError) as error:
        HBOArgs.model_validate({"hbo": {}, **data})
    written = f"trl.{ASYNC[1]}: true" if name == "async" else f"rl: {name}"
    why = REFUSED.get(name, "was never run with hbo")
    assert str(error.value.errors()[0]["msg"]) == (
        f"Value error, `hbo:` cannot be combined with these options:\n`{written}` {why}; remove it, or remove `hbo:`."
    )
    HBOArgs.model_validate(data)  # nothing without `hbo:`


@pytest.mark.axolotl
def test_every_value_of_rl_is_known() -> None:
    from axolotl.utils.schemas.enums import RLType

    assert {each.value for each in RLType} == {*KINDS, *REFUSED} - {"", "reward_model", "process_reward_model", "async"}
    assert [kinds.kind_of({"rl": each}).written for each in (RLType.DPO, "dpo")] == ["rl: dpo", "rl: dpo"]


@pytest.mark.axolotl
def test_evaluating_and_comparing_pairs_is_refused(tmp_path: Path) -> None:
    from axolotl.utils.dict import DictDefault

    from hbo_plugin import HBOPlugin
    from hbo_plugin.compare.cli import compare

    with pytest.raises(ValueError, match=r"^`axolotl evaluate` works with supervised fine-tuning alone"):
        HBOPlugin().add_callbacks_post_trainer(DictDefault({"rl": "dpo", "hbo": {}}), None)
    path = tmp_path / "config.yml"
    path.write_text("rl: dpo\nhbo: {weights: {a: 1}}\n")
    done = CliRunner().invoke(compare, [str(path)])
    assert done.exit_code != 0
    assert "a comparison of runs works with supervised fine-tuning alone, and not with `rl: dpo`" in done.output


def test_commands_for_supervised_training_refuse_others() -> None:
    kinds.refuse_command("`axolotl evaluate`", {})
    for name in ("dpo", "kto"):
        with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
            kinds.refuse_command("`axolotl evaluate`", {"rl": name})
        assert str(error.value) == (
            f"`axolotl evaluate` works with supervised fine-tuning alone, and not with `rl: {name}`; use `axolotl train`, which "
            f"evaluates too."
        )
