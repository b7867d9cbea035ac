"""The arms of a comparison: what of the user's block each of them trains with."""

from pathlib import Path
from typing import Any

import pytest

from hbo_plugin.args import HBOConfig
from hbo_plugin.compare.arms import Arm, find_arms
from hbo_plugin.methods import METHODS


def arms(given: dict[str, Any], *methods: str, controls: bool = False, **changes: dict[str, Any]) -> dict[str, Arm]:
    return {arm.name: arm for arm in find_arms(given, methods, changes, "static", controls=controls)}


def test_the_baseline_comes_first_and_every_method_takes_the_common_keys() -> None:
    given = {"method": "odm", "ema_decay": 0.5, "update_every": 7, "target": ["a"]}
    found = arms(given, "hbo", "odm")
    assert [*found] == ["static", "hbo", "odm"]
    assert found["static"].block == {"method": "static", "update_every": 7, "target": ["a"]}
    assert found["odm"].block == given
    assert (found["odm"].left_out, found["hbo"].left_out) == (
        (),
        () if "ema_decay" in found["hbo"].block else ("ema_decay",),
    )


def test_fixed_shares_are_where_the_other_methods_start() -> None:
    given = {"weights": {"a": 3, "b": 1}, "levels": 2}
    found = arms(given, "hbo", "static")
    assert found["static"].block == given
    assert found["hbo"].block == {"method": "hbo", "prior": {"a": 3, "b": 1}, "levels": 2}


def test_a_file_gives_arms_of_its_own() -> None:
    found = arms(
        {"prior": 3, "exponent": 0.5},
        warm={"method": "static", "prior": 5},
        fixed={"weights": {"a": 1}},
        sharp={"exponent": 1},
    )
    assert found["warm"].block == {"method": "static", "prior": 5}
    assert found["fixed"].block == {"weights": {"a": 1}}
    assert found["sharp"].block == {"prior": 3, "exponent": 1}


def test_keys_without_a_meaning_for_a_method_are_left_out_and_said() -> None:
    given = {"published": True, "hold_steps": 10}
    found = arms(given, "hbo", "branches", "odm")
    assert found["hbo"].block == {"method": "hbo", **given}
    assert (found["static"].block, found["static"].left_out) == ({"method": "static"}, ("hold_steps",))
    assert (found["branches"].block, found["branches"].left_out) == ({"method": "branches"}, ("hold_steps",))
    assert found["odm"].block == {"method": "odm", "hold_steps": 10}


def test_each_arm_that_adapts_has_a_control_that_replays_it() -> None:
    found = arms({"levels": 3, "exponent": 1}, "hbo", "static", controls=True)
    assert [*found] == ["static", "hbo", "hbo, its average"]
    control = found["hbo, its average"]
    assert (control.replays, control.block) == ("hbo", {"levels": 3, "method": "replay"})
    assert control.made(Path("t.jsonl")) == {"levels": 3, "method": "replay", "trace": "t.jsonl"}


@pytest.mark.parametrize("method", [name for name in METHODS if name not in {"replay", "target_loss", "frontier"}])
@pytest.mark.parametrize(
    "given", [{}, {"weights": {"a": 1}}, {"method": "hbo", "prior": 2, "step_size": 0.5, "hold_steps": 3}]
)
def test_every_method_can_be_an_arm_of_any_block(given: dict[str, Any], method: str) -> None:
    HBOConfig.model_validate(arms(given, method)[method].block)


def test_names_that_would_meet_are_refused() -> None:
    with pytest.raises(ValueError, match="`static` is the name of a method and of an arm"):
        arms({}, "static", static={"prior": 2})
    with pytest.raises(ValueError, match="two arms would write to `t-1`"):
        find_arms({}, (), {"t 1": {"prior": 1}, "t-1": {"prior": 2}}, "static", controls=False)


def test_an_arm_that_cannot_be_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=r"hbo\.method: hbx"):
        arms({}, "hbx")
    with pytest.raises(ValueError, match=r"the arm `target_loss`: `hbo\.goal_losses` is missing"):
        arms({}, "target_loss")
    with pytest.raises(ValueError, match=r"the arm `mine`: `hbo\.prior: -1`"):
        arms({}, mine={"prior": -1})
