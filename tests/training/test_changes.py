"""A block that changed before a resume: each key acts, or the run is refused, or it changes no row and no weight."""

import json
from typing import Any

import pytest
from runs import lines, read_trace, train

from hbo_plugin.args import HBOConfig
from hbo_plugin.trace import TRACE_FILE, Trace
from hbo_plugin.training.changes import ON_RESUME, compare

BEFORE = HBOConfig().effective()

OTHER: dict[str, Any] = {
    "method": "learning_progress",
    "published": True,
    "update_every": 7,
    "unit": "token",
    "signals": "reuse",
    "levels": 2,
    "difficulty": "ifd",
    "scorer_model": "small",
    "max_epochs": "auto",
    "val_set_size": {"a": 5},
    "gradient_rows": 5,
    "forward_rows": 5,
    "copy_steps": 7,
    "replacement": True,
    "seed": 5,
    "names": ["a", "b"],
    "group_by": "source",
    "group_min_rows": 5,
    "log_levels": True,
    "record_rows": True,
    "record_steering": True,
    "stop_on_nan": True,
    "held_out": {"a": "b"},
    "target": ["a"],
    "hold_steps": 0.5,
    "easiest": "high",
    "row_weights": {"column": "quality"},
}
"""Another value of every key, but for `settings`, which only a class of the user's has."""


def test_every_key_has_its_place() -> None:
    assert ON_RESUME.keys() == HBOConfig.model_fields.keys()
    assert OTHER.keys() == HBOConfig.model_fields.keys() - {"settings"}


@pytest.mark.parametrize("key", OTHER)
def test_a_changed_key_acts_or_is_refused_or_is_told_by_the_data(key: str) -> None:
    after = HBOConfig.model_validate({key: OTHER[key]}).effective()
    if ON_RESUME[key] == "refused":
        with pytest.raises(ValueError, match=rf"change .*`{key}`.* back, or start afresh"):
            compare(BEFORE, after)
    else:
        assert (key in compare(BEFORE, after)) == (ON_RESUME[key] == "acts")


def test_parameters_of_a_method_act() -> None:
    after = HBOConfig.model_validate({"step_size": 0.25, "prior": 2}).effective()
    assert sorted(compare(BEFORE, after)) == ["prior", "step_size"]
    assert compare(BEFORE, BEFORE) == []


@pytest.mark.axolotl
def test_new_shares_act_from_the_checkpoint_on(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from hbo_plugin.training import run

    warnings: list[str] = []
    monkeypatch.setattr(run.LOG, "warning", lambda text, *args: warnings.append(text % args))
    hbo = {"record_rows": True}
    shares = {"sums": 6, "words": 3, "tales": 1}
    folder = train(make_config(hbo={**hbo, "weights": shares}, max_steps=8))
    checkpoint = folder / "checkpoint-4"
    for later in ("checkpoint-8", "model.safetensors"):
        assert (folder / later).exists()
    new = {"sums": 1, "words": 1, "tales": 8}
    config = make_config(hbo={**hbo, "weights": new}, max_steps=8, resume_from_checkpoint=str(checkpoint))
    trace = read_trace(train(config))
    changed = next(record for record in trace if record["event"] == "update")
    assert (changed["step"], changed["head"]) == (4, 16)
    assert changed["weights"] == {
        "sums": [pytest.approx(0.1)],
        "words": [pytest.approx(0.1)],
        "tales": [pytest.approx(0.8)],
    }
    assert "hbo: new values of `weights` act from step 4 on." in warnings
    rows = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    assert sum(row >= 120 for row in rows[16:]) >= 11
    assert sum(row >= 120 for row in rows[:16]) <= 3


@pytest.mark.axolotl
def test_a_lower_cap_acts_under_a_fixed_mixture(make_config: Any) -> None:
    """A uniform mixture takes 16 of the 16 tales in 12 steps; with a cap set half way, no tale is drawn any more."""
    hbo = {"method": "static", "prior": "uniform", "record_rows": True}
    folder = train(make_config(hbo=hbo, max_steps=12))
    checkpoint = folder / "checkpoint-8"
    config = make_config(
        hbo={**hbo, "max_epochs": {"tales": 0.5}}, max_steps=12, resume_from_checkpoint=str(checkpoint)
    )
    folder = train(config)
    last = read_trace(folder)[-1]
    assert Trace(folder / TRACE_FILE).history().about.config["max_epochs"] == "{tales: 0.5}"
    before = json.loads((checkpoint / "hbo_state.json").read_text())["rows_trained"][2]
    assert last["rows_trained"]["tales"] == [max(before, 8)]
    assert last["capped"]["tales"] == [True]


@pytest.mark.axolotl
def test_another_seed_is_refused(make_config: Any) -> None:
    checkpoint = train(make_config(max_steps=4)) / "checkpoint-4"
    with pytest.raises(ValueError, match=r"was trained with seed 7, but this run has seed 8; set `hbo.seed: 7`"):
        train(make_config(seed=8, max_steps=4, resume_from_checkpoint=str(checkpoint)))
