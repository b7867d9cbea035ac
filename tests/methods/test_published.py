"""Each method with a published code against the weights that this code gave; `published/*.json` say which code, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from method_cases import in_shape, make, names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

FOLDER = Path(__file__).with_name("published")
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}

FLOAT64, OWN_FIT, FLOAT32 = 1e-12, 2e-5, 2e-5
"""How far a weight may be off: where both codes compute in float64; where the fit to the prior, of which the published code
takes tens of thousands of steps, is our shorter one; and where the published numbers are in float32."""


def cases(file: str) -> pytest.MarkDecorator:
    """A mark for the cases of a file."""
    return pytest.mark.parametrize("case", tuple(FILES[file]["inputs"]))


def array(values: Any) -> NDArray[np.float64]:
    """Numbers of a file; null is not measured."""
    return np.array(values, dtype=np.float64)


def rows_of(file: str, case: str) -> NDArray[np.int64]:
    """The rows of every cell."""
    rows = np.array(FILES[file]["inputs"][case]["rows"])
    return rows if rows.ndim == 2 else rows[:, None]


def begin_at(method: Method, after: dict[str, Any]) -> None:
    """Put the actor where the code's own fit to the prior ended."""
    state = method.state_dict()
    actor = state.get("global", state)
    actor |= {key: after[key] for key in ("logits", "first_moment", "second_moment")} | {"step": [after["step"]]}
    method.load_state_dict(state)


def rewards(file: str, case: str) -> tuple[str, NDArray[np.float64]]:
    """The signal that rewards the actor over datasets, and its values, float64[updates, datasets]."""
    inputs, outputs = (FILES[file][key][case] for key in ("inputs", "outputs"))
    if file == "hbo":
        return "row_gradient_norm", array(
            inputs["gradient_norm"]
        ) / 2  # the code divides by twice as many as it adds up
    if file == "mos":
        alike = "reward_by_hand" in outputs
        return (
            ("similarity", array(outputs["reward_by_hand"]))
            if alike
            else ("mean_perplexity_ratio", array(inputs["perplexity_ratio"]))
        )
    if file == "multidds":
        return "gradient_alignment", array(inputs["cosine"]).mean(axis=1)
    return FILES[file]["settings"]["cases"][case]["reward"].split()[0], array(inputs["reward"])


def adam_method(file: str, case: str) -> Method:
    """The published form of a method, as the case has it."""
    setting = FILES[file]["settings"]["cases"][case]
    chosen: dict[str, Any] = {"prior": float(setting.get("temperature", 1))}
    if file == "mos":
        chosen |= {"reward": setting["reward"], "ema_decay": 0.1 if setting["average"] else 0.0}
    if file == "multiuat":
        chosen["reward"] = setting["reward"].split()[0]
    return make(file, rows_of(file, case), published=True, **chosen)


@pytest.mark.parametrize("fit", ["own", "theirs"])
@pytest.mark.parametrize(
    ("file", "case"),
    [(file, case) for file in ("hbo", "mos", "multidds", "multiuat") for case in FILES[file]["inputs"]],
)
def test_the_published_actor_over_datasets(file: str, case: str, fit: str) -> None:
    method, (signal, values) = adam_method(file, case), rewards(file, case)
    outputs = FILES[file]["outputs"][case]
    np.testing.assert_allclose(method.weights().sum(axis=1), outputs["prior"], atol=FLOAT64)
    if fit == "theirs":
        begin_at(method, outputs["after_prefit_double"])
    rows = rows_of(file, case)
    expected = array(outputs["global_with_prefit_double" if file == "hbo" else "with_prefit_double"])
    for measured, weights in zip(values, expected, strict=True):
        given = {signal: in_shape(signal, measured)}
        method.update({"mean_perplexity_ratio": np.ones(rows.shape), **given})
        found = method.weights().sum(axis=1)
        np.testing.assert_allclose(found, weights, rtol=0, atol=OWN_FIT if fit == "own" else FLOAT64)


@cases("hbo")
def test_the_published_local_actors_of_hbo(case: str) -> None:
    method, inputs = adam_method("hbo", case), FILES["hbo"]["inputs"][case]
    for norm, ratio, expected in zip(
        array(inputs["gradient_norm"]),
        array(inputs["perplexity_ratio"]),
        array(FILES["hbo"]["outputs"][case]["local_double"]),
        strict=True,
    ):
        method.update({"row_gradient_norm": norm, "mean_perplexity_ratio": ratio})
        local = method.weights() / method.weights().sum(axis=1, keepdims=True)
        np.testing.assert_allclose(local, expected, rtol=0, atol=FLOAT64)


@cases("odm")
def test_odm(case: str) -> None:
    """The code counts the steps of its warm-up too, and its updates come every so many steps."""
    setting, inputs, outputs = (FILES["odm"][key] for key in ("settings", "inputs", "outputs"))
    setting = setting["cases"][case]
    every = setting["update_every"]
    method = make("odm", rows_of("odm", case), ema_decay=setting["smoothing"], update_every=every)
    method.load_state_dict({**method.state_dict(), "steps": [setting["warmup_steps"]]})
    updates = 0
    for step, loss, due, expected in zip(
        inputs[case]["iteration"],
        array(inputs[case]["loss"]),
        outputs[case]["updated"],
        array(outputs[case]["weights"]),
        strict=True,
    ):
        assert due == (step > setting["warmup_steps"] and step % every == 0)
        updates += due
        if due:
            method.update({"loss": loss[:, None]})
        np.testing.assert_allclose(method.weights()[:, 0], expected, rtol=0, atol=FLOAT64)
    assert updates > 5


@cases("doremi")
def test_doremi(case: str) -> None:
    """`clip` is of a dataset's mean, so that only rows of one token show it; else the clipped means are given."""
    inputs = FILES["doremi"]["inputs"][case]
    rows = np.round(100 * array(inputs["first_weights"])).astype(np.int64)[:, None]
    method = make("doremi", rows, prior="proportional", clip=case == "one_token")
    scores = array(inputs["excess" if case == "one_token" else "score"])
    for score, expected in zip(scores, array(FILES["doremi"]["outputs"][case]["weights"]), strict=True):
        method.update({"perplexity_ratio": np.exp(score)[:, None]})
        atol = FLOAT64 if case == "centred" else FLOAT32
        np.testing.assert_allclose(method.weights()[:, 0], expected, rtol=0, atol=atol)


@cases("target_loss")
def test_target_loss(case: str) -> None:
    inputs, rows = FILES["target_loss"]["inputs"][case], rows_of("target_loss", case)
    goals = dict(zip(names(rows), inputs["target"], strict=True))
    method = make("target_loss", rows, names=names(rows), goal_losses=goals)
    expected = array(FILES["target_loss"]["outputs"][case]["proportion_double"])
    for loss, proportion in zip(array(inputs["held_out_loss"]), expected, strict=True):
        method.update({"held_out_loss": loss})
        np.testing.assert_allclose(method.weights()[:, 0], proportion, rtol=0, atol=FLOAT64)


def test_every_file_says_where_its_numbers_come_from() -> None:
    assert set(FILES) == {"hbo", "mos", "multidds", "multiuat", "odm", "doremi", "target_loss"}
    for name, file in FILES.items():
        assert file["notes"], name
        assert file["made_with"]["numpy"], name
        for source in file["source"]:
            assert source.keys() >= {"repository", "commit", "functions"}, name
