"""The command `check`: what it says is what a run then does, it refuses all that training would, and loads no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from runs import Config, lines, read_trace, train

from hbo_plugin.check.cli import check

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.axolotl


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("a model was loaded"))


@pytest.fixture
def run_check(tmp_path: Path) -> Callable[..., Result]:
    """A function that runs the command on a configuration."""

    def call(config: Config, *arguments: str) -> Result:
        path = tmp_path / "config.yml"
        path.write_text(yaml.safe_dump(config))
        return CliRunner().invoke(check, [str(path), *arguments], catch_exceptions=False)

    return call


def found(result: Result) -> dict[str, Any]:
    """What `--json -` wrote to stdout, where nothing else stands."""
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def drawn(content: dict[str, Any]) -> dict[str, int]:
    return {each["name"]: each["rows_drawn"] for each in content["plan"]["datasets"]}


def test_a_run_draws_the_rows_of_its_plan(
    make_config: Any, run_check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In phases, one of which ends with an epoch of 34 steps; more steps than epochs; levels; and a cap."""
    phases = [
        {"until": 34, "sums": 3, "words": 1, "tales": 0},
        {"until": 80, "sums": 1, "words": 1, "tales": 2},
        {"sums": 0, "words": 1, "tales": 1},
    ]
    hbo = {"weights": phases, "max_epochs": {"tales": 8}, "levels": {"sums": 2}, "record_rows": True}
    config = make_config(hbo=hbo, max_steps=120)
    result = run_check(config, "--json", "-")
    assert result.exit_code == 0
    content = found(result)
    monkeypatch.undo()
    trace = read_trace(train(config))
    again = config | {"resume_from_checkpoint": str(Path(config["output_dir"]) / "checkpoint-108")}
    assert run_check(again).exit_code == 0
    other = run_check(again | {"micro_batch_size": 4, "seed": 8}, "--json", "-")
    assert other.exit_code == 1
    assert found(other)["plan"]["steps"] == 120
    assert found(other)["refusals"][0].startswith("the checkpoint was trained with seed 7, but this run has seed 8;")
    for key in ({"resume_from_checkpoint": None, "auto_resume_from_checkpoints": True}, {}):
        (refusal,) = found(run_check(again | {"micro_batch_size": 4} | key, "--json", "-"))["refusals"]
        assert refusal.startswith("the checkpoint trained on 4 rows a step, but this run would on 8 rows;")
    assert drawn(content) == {name: sum(rows) for name, rows in trace[-1]["rows_trained"].items()}
    plan = content["plan"]
    assert (plan["phases"], plan["steps"]) == ([record["step"] for record in trace[:-1]], trace[-1]["step"])
    for each in plan["datasets"]:
        name = each["name"]
        assert each["weights"] == [sum(record["weights"][name]) for record in trace[:-1]]
        assert each["capped"] == [any(record["capped"][name]) for record in trace[:-1]]
        assert (each["rows"], each["levels"]) == (sum(trace[0]["rows"][name]), 2 if name == "sums" else 1)
    rows = np.array([record["rows"] for record in lines(Path(config["output_dir"]) / "hbo_rows.jsonl")])
    for each, wanted in zip(plan["datasets"], (range(80), range(80, 120), range(120, 136)), strict=True):
        seen = [step for step in range(1, 121) if np.isin(wanted, rows[:step]).all()]
        assert each["seen_once"] == (seen[0] if seen else None)


def test_a_packed_run_draws_about_the_rows_of_its_plan(
    make_config: Any, run_check: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(hbo={"weights": {"tales": 3, "sums": 4, "words": 1}}, sample_packing=True, max_steps=60)
    content = found(run_check(config, "--json", "-"))
    monkeypatch.undo()
    last = read_trace(train(config))[-1]
    assert content["plan"]["estimated"]
    for each in content["plan"]["datasets"]:
        assert each["rows_drawn"] == pytest.approx(sum(last["rows_trained"][each["name"]]), rel=0.03)
        assert each["tokens_drawn"] == pytest.approx(sum(last["tokens"][each["name"]]), rel=0.03)


def test_what_is_shown_fits_80_columns_and_leaves_a_run_as_it_was(
    make_config: Any, run_check: Callable[..., Result]
) -> None:
    config = make_config(val_set_size=0.2, max_steps=None, group_by_length=True)
    log = Path(config["output_dir"]) / "debug.log"
    log.parent.mkdir()
    log.write_text("of a run")
    result = run_check(config)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    text = " ".join(result.stdout.split())
    assert "sums 80 64 0" in text
    assert "Trains for 28 steps of 4 rows. Weights are shares of rows." in text
    assert (
        "Every 3 steps the weights follow `gradient_norm`, `perplexity_ratio` from the training batches: no pass."
        in text
    )
    assert "Note: dataset `tales` holds out 3 of its 16 rows;" in text
    assert "Warning: `group_by_length: true` has no effect" in text
    assert "The first dataset to be used up is `tales`, at step" in text
    assert "refuse" not in text
    assert log.read_text() == "of a run"
    assert list(log.parent.iterdir()) == [log]


def test_phases_and_caps_are_shown(make_config: Any, run_check: Callable[..., Result]) -> None:
    phases = [{"until": 0.5, "sums": 1, "words": 0, "tales": 3}, {"sums": 1, "words": 1, "tales": 0}]
    text = " ".join(
        run_check(make_config(hbo={"weights": phases, "max_epochs": {"tales": 5}}, max_steps=128)).stdout.split()
    )
    assert "Weights change after step 64: one line for each phase." in text
    assert "From step 1 on, `max_epochs` limits the weight of `tales`, from 75.0% to 31.2%." in text
    assert "From step 65 on" not in text
    assert "Nothing is measured to move the weights." in text


def test_what_weighs_the_rows_is_shown(make_config: Any, run_check: Callable[..., Result]) -> None:
    text = " ".join(run_check(make_config({"sums": 16}, hbo={"row_weights": {"column": "hardness"}})).stdout.split())
    assert "Row weights: the column `hardness`, divided by its mean over each step." in text


@pytest.mark.parametrize(
    ("option", "start"),
    [
        ({"torch_compile": True}, "`torch_compile: true` hides the logits, on whose gradients"),
        ({"use_eaft": True}, "`use_eaft` changes the loss that is trained on, whose rows `hbo.row_weights` was never"),
    ],
)
def test_rows_that_cannot_be_weighed_are_refused(
    make_config: Any, run_check: Callable[..., Result], option: Config, start: str
) -> None:
    hbo = {"method": "static", "row_weights": {"column": "hardness"}}
    (refusal,) = found(run_check(make_config({"sums": 16}, hbo=hbo, **option), "--json", "-"))["refusals"]
    assert refusal.startswith(start)
    assert refusal.endswith(", or remove `row_weights`.")
    assert (
        found(run_check(make_config({"sums": 16}, hbo={"method": "static"}, **option), "--json", "-"))["refusals"] == []
    )


def test_ranks_share_a_run(make_config: Any, run_check: Callable[..., Result]) -> None:
    config = make_config(max_steps=None)
    alone, together = (found(run_check(config, "--ranks", ranks, "--json", "-"))["plan"] for ranks in ("1", "4"))
    assert (alone["steps"], alone["step"]) == (34, "4 rows")
    assert (together["steps"], together["step"]) == (9, "16 rows")


@pytest.mark.parametrize("kind", ["loss", "ifd"])
def test_difficulty_that_is_not_scored_is_named(make_config: Any, run_check: Callable[..., Result], kind: str) -> None:
    config = make_config(hbo={"levels": {"words": 2, "sums": 2, "tales": 1}, "difficulty": kind, "update_every": 3})
    result = run_check(config)
    assert result.exit_code == 0
    text = "".join(result.stdout.split())  # a long path goes on in the next line
    needed = f"The model must still score the difficulty `{kind}` of 80 rows of `sums`, 40 rows of `words`, 16 rows of"
    assert "".join(needed.split()) in text
    assert f"`axolotlhbo-score{config['output_dir'].removesuffix('out')}config.yml`" in text
    assert "median" not in text


def test_weights_that_never_change_are_a_warning(make_config: Any, run_check: Callable[..., Result]) -> None:
    content = found(run_check(make_config(hbo={"update_every": 12}), "--json", "-"))
    (warning,) = content["warnings"]
    assert warning.startswith("`update_every: 12` is not below the 12 steps of the run,")


def test_everything_that_is_wrong_is_said_at_once(
    make_config: Any, run_check: Callable[..., Result], tmp_path: Path
) -> None:
    """The target, the tie, the signal, and the data of two datasets of three."""
    hbo = {"target": ["sum"], "held_out": {"sums": "exam"}, "signals": "reuse", "reward": {"global": "similarity"}}
    config = make_config(hbo=hbo, val_set_size=0.2)
    for number, text in ((0, '{"instruction": null, "input": "", "output": 3}\n'), (2, '{"txt": "no column"}\n')):
        path = tmp_path / f"wrong{number}.jsonl"
        path.write_text(text * 4)
        config["datasets"][number]["path"] = str(path)
    config["hbo"]["names"] = ["sums", "words", "tales"]
    result = run_check(config, "--json", "-")
    assert result.exit_code == 1
    content = found(result)
    assert content["plan"] is None
    starts = [
        "`hbo.target: sum` names a held-out set that does not exist;",
        "`hbo.held_out: {sums: exam}` names a held-out set that does not exist;",
        "dataset `sums`",
        "dataset `tales`",
    ]
    for start in starts:
        assert any(refusal.startswith(start) for refusal in content["refusals"]), start


def test_axolotl_s_refusals_come_alone(make_config: Any, run_check: Callable[..., Result]) -> None:
    """Without a valid configuration there are no data to look at; hbo's own refusals of keys are among them."""
    config = make_config(micro_batch_size="many", hbo={"levls": 3})
    result = run_check(config)
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert text.startswith("Training would refuse this: - ")
    assert "did you mean `levels`?" in text
    assert "`micro_batch_size`" in text


def test_a_configuration_without_the_block_is_refused(make_config: Any, run_check: Callable[..., Result]) -> None:
    content = found(run_check(make_config(hbo=None), "--json", "-"))
    (refusal,) = content["refusals"]
    assert refusal.endswith(
        "has no `hbo:` block that Axolotl would hand on; add `hbo:`, and `plugins: [hbo_plugin.HBOPlugin]`."
    )


def test_prepared_data_are_looked_at_in_a_second(make_config: Any, run_check: Callable[..., Result]) -> None:
    """Beside the import of Axolotl, of which the first check of the process is a part; processor time."""
    import time

    config = make_config()
    run_check(config)
    before = time.process_time()
    assert run_check(config).exit_code == 0
    assert time.process_time() - before < 3
