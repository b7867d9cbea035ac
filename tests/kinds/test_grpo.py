"""GRPO: a prompt's answers stay together, shares hold, rewards are told by dataset, and a killed run goes on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from collated import FILE
from prompts import SIZES, of_prompts
from resume import assert_resumes
from runs import Config, features_asked, history, lines, load, read_trace, train

from hbo_plugin import drawn_rows
from hbo_plugin.args import HBOConfig
from hbo_plugin.check.cli import check
from hbo_plugin.data import load as data
from hbo_plugin.features import FEATURES
from hbo_plugin.kinds import KINDS
from hbo_plugin.report.cli import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

pytestmark = pytest.mark.axolotl

ANSWERS = 4
PHASES: Config = {
    "weights": [{"until": 8, "a": 50, "b": 30, "c": 20}, {"a": 20, "b": 60, "c": 20}],
    "levels": 2,
    "difficulty": "length",
    "max_epochs": {"c": 1},
    "record_rows": True,
}
FRONTIER: Config = {
    "method": "frontier",
    "group_by": "source",
    "prior": {"a0": 30, "a1": 10, "b0": 20, "b1": 15, "c0": 15, "c1": 10},
    "levels": 2,
    "difficulty": "answer",
    "update_every": 4,
    "record_rows": True,
}
LORA: Config = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
STEP = {"micro_batch_size": 8, "gradient_accumulation_steps": 2, "num_epochs": 8}
BATCHES: dict[str, tuple[Config, int]] = {
    "a step": ({}, 1),
    "two steps of other answers": ({"generation_batch_size": 32}, 2),
    "two steps of the same answers": ({"num_iterations": 2}, 2),
}
"""Of each way to train on a generation batch, options under `trl:`, and the optimizer steps that it is good for."""


@pytest.fixture
def of(make_config: Any, tmp_path: Path) -> Callable[..., Config]:
    """A function that gives a configuration with an `hbo:` block; keywords replace keys."""

    def make(hbo: Config, rl: str = "grpo", trl: Config | None = None, **changes: Any) -> Config:
        return of_prompts(make_config(hbo=hbo, **{**STEP, **changes}), tmp_path, rl, **(trl or {}))

    return make


@pytest.mark.parametrize("rl", ["grpo", "gdpo"])
def test_what_it_is_said_to_do_is_run_below(of: Any, tmp_path: Path, rl: str) -> None:
    asked = features_asked(of(PHASES, rl), tmp_path) | features_asked(of(FRONTIER, rl, val_set_size=0.2), tmp_path)
    assert asked == {*FEATURES} - KINDS[rl].lacks


@pytest.mark.parametrize("batch", BATCHES)
def test_a_killed_run_goes_on_and_has_its_shares(
    of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str
) -> None:
    trl, steps = BATCHES[batch]
    config = of(PHASES, trl=trl, max_steps=16, save_steps=6)
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(check, [str(path), "--json", "-"], catch_exceptions=False)
    planned = {each["name"]: each for each in json.loads(done.stdout)["plan"]["datasets"]}
    folder = assert_resumes(config, monkeypatch, crash_at=9)
    rows = [*drawn_rows(folder)]
    prompts = 16 // ANSWERS * (2 if "generation_batch_size" in trl else 1)
    assert Counter(row.step for row in rows) == dict.fromkeys(range(1, 17, steps), prompts)
    counts = Counter(row.dataset for row in rows)
    assert counts == {name: each["rows_drawn"] for name, each in planned.items()}
    told = CliRunner().invoke(report, [str(folder)], catch_exceptions=False).stdout
    assert f"The mixture after 16 steps, {len(rows)} rows trained on" in told


@pytest.mark.parametrize("batch", BATCHES)
def test_the_answers_to_a_prompt_stay_together(of: Any, batch: str) -> None:
    """The trainer is given each prompt of a generation batch four times, and the whole batch once for each micro-batch."""
    trl, steps = BATCHES[batch]
    config = of(PHASES, trl=trl, max_steps=12)
    config["plugins"] += ["collated.CollatedPlugin"]
    folder = train(config)
    questions = asked_of(config)
    drawn = [question for question, *_ in questions_of(folder, questions)]
    given: list[Any] = lines(folder / FILE.format(rank=0))
    taken = []
    prompts = len(drawn) * steps // 12
    for first in range(0, len(drawn), prompts):
        of_batch = [question for question in drawn[first : first + prompts] for _ in range(ANSWERS)]
        taken += of_batch * (2 * steps)
    assert given[: len(taken)] == taken  # what was loaded ahead of the end comes behind


def asked_of(config: Config) -> dict[tuple[str, int], Config]:
    """The user's rows, by file and line, with their question."""
    found = {}
    for entry in config["datasets"]:
        for number, row in enumerate(lines(Path(entry["path"])), 1):
            question = row.get("question") or row["prompt"][0]["content"]
            found[entry["path"], number] = {**row, "question": question}
    return found


def questions_of(folder: Path, rows: dict[tuple[str, int], Config]) -> list[tuple[str, str, int, int]]:
    """Of each row that was trained on: its question, dataset, level and step."""
    return [
        (rows[row.entry["path"], row.raw_row]["question"], row.dataset, row.level, row.step)
        for row in drawn_rows(folder)
    ]


@pytest.mark.parametrize("rl", ["grpo", "gdpo"])
def test_rewards_are_told_by_dataset(of: Any, rl: str) -> None:
    """Against the answers that the trainer itself writes down."""
    config = of(FRONTIER, rl, {"log_completions": True, "reward_weights": [1.0, 0.5]}, max_steps=12, save_steps=12)
    folder = train(config)
    rows = questions_of(folder, asked_of(config))
    known = {question: (dataset, level) for question, dataset, level, _ in rows}
    since: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for step in range(1, 13):
        groups = answers(folder, step)
        assert Counter(question for question, _ in groups) == Counter(row[0] for row in rows if row[3] == step)
        of_step: dict[str, list[NDArray[np.float64]]] = {}
        for question, rewards in groups:
            of_step.setdefault(known[question][0], []).append(rewards)
            if step <= 4:
                since.setdefault(known[question], []).append(rewards)
        for dataset, found in of_step.items():
            told = {signal: history(folder, f"hbo/{signal}/{dataset}")[step] for signal in reference(found)}
            assert told == pytest.approx(reference(found), abs=1e-6)
    update = next(record for record in read_trace(folder) if record["event"] == "update")
    assert update["step"] == 4
    for (dataset, level), found in since.items():
        variance = update["signals"]["reward_variance"][dataset][level]
        assert variance == pytest.approx(reference(found)["reward_variance"], abs=1e-6)


def answers(folder: Path, step: int) -> list[tuple[str, NDArray[np.float64]]]:
    """The question of each group of answers of a step, and what the answers were worth."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "completions" / f"completions_{step:05d}.parquet").to_pylist()
    found = []
    for first in range(0, len(table), ANSWERS):
        group = table[first : first + ANSWERS]
        assert len({row["prompt"] for row in group}) == 1
        question = group[0]["prompt"]
        rewards = [row["by_chance"] + 0.5 * np.nan_to_num(row["by_length"] or 0.0) for row in group]
        found.append((question, np.array(rewards)))
    return found


def reference(groups: list[NDArray[np.float64]]) -> dict[str, float]:
    """The signals of a cell, from the rewards of each group."""
    return {
        "reward": float(np.mean([group.mean() for group in groups])),
        "reward_variance": float(np.mean([group.var(ddof=1) for group in groups])),
        "advantage": float(np.mean([np.abs(group - group.mean()).mean() for group in groups])),
        "no_variance": float(np.mean([group.std() == 0 for group in groups])),
    }


@pytest.mark.parametrize("changes", [{}, {"dataloader_num_workers": 2, **LORA}], ids=["", "workers and LoRA"])
def test_levels_move_and_a_killed_run_goes_on(of: Any, monkeypatch: pytest.MonkeyPatch, changes: Config) -> None:
    config = of(FRONTIER, max_steps=16, save_steps=6, val_set_size=0.2, eval_steps=8, **changes)
    folder = assert_resumes(config, monkeypatch, crash_at=9)
    updates = [record for record in read_trace(folder) if record["event"] == "update"]
    assert [record["step"] for record in updates] == [4, 8, 12]
    prior = FRONTIER["prior"]
    for record in updates:
        assert {name: sum(levels) for name, levels in record["weights"].items()} == pytest.approx(
            {name: share / 100 for name, share in prior.items()}
        )
    assert any(levels[0] != pytest.approx(levels[1]) for levels in updates[-1]["weights"].values())
    told = {name: history(folder, f"eval_{name}_reward") for name in (*prior, "target")}
    for step in (0, 8, 16):
        assert told["target"][step] == pytest.approx(np.mean([told[name][step] for name in prior]))
    assert not [record for record in read_trace(folder) if record["event"] == "evaluate"]


@pytest.mark.parametrize(
    ("trl", "changes", "expected"),
    [
        (
            {"generation_batch_size": 8},
            {},
            (
                "the answers of a generation batch are trained on 8 times, and an optimizer step takes 16; set "
                "`trl.generation_batch_size` so that the first is a multiple of the second."
            ),
        ),
        (
            {"num_iterations": 2},
            {"save_steps": 5},
            (
                "`save_steps: 5` lies inside the 2 steps that are made on the answers of one generation batch, which no checkpoint "
                "keeps; set it to a multiple of 2."
            ),
        ),
        (
            {"num_iterations": 4},
            {"max_steps": 6},
            (
                "`max_steps: 6` lies inside the 4 steps that are made on the answers of one generation batch, which no checkpoint "
                "keeps; set it to a multiple of 4."
            ),
        ),
    ],
)
def test_batches_that_cannot_be_whole_are_refused(of: Any, trl: Config, changes: Config, expected: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        train(of({**PHASES, "weights": {"a": 50, "b": 30, "c": 20}}, trl=trl, **changes))
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"question": "What?"},
            "dataset `b`: its rows have `question`, where this kind of training takes a `prompt`; use a `type` that makes it.",
        ),
        (
            {"prompt": "What?", "image": "a.png"},
            "dataset `b`: its rows have `image`, which hbo cannot batch; remove the column.",
        ),
        (
            {"prompt": "What?"},
            (
                "the column `prompt` holds List({'role': Value('string'), 'content': Value('string')}) in one dataset and "
                "Value('string') in another, which cannot stand beside each other; make them alike, or rename it in one of them."
            ),
        ),
    ],
)
def test_rows_that_are_no_prompts_are_refused(of: Any, tmp_path: Path, row: Config, expected: str) -> None:
    config = of(PHASES)
    config["datasets"][1].pop("type")
    Path(config["datasets"][1]["path"]).write_text((json.dumps(row) + "\n") * SIZES["b"])
    cfg = load(config, tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    assert str(error.value) == expected
