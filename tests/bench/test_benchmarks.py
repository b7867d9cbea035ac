"""The evidence about this repository: each benchmark runs, and compares like with like. No timing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from filelock import FileLock

from axolotl_configs import quickstart_search_data
from benchmarks import (
    comparison,
    mixtures,
    packing,
    real_model,
    rollouts,
    scoring,
    searches,
    start,
    targets,
    tasks,
    training_cases,
    trials,
)
from benchmarks.__main__ import main
from hbo_plugin.compare.arms import find_arms
from hbo_plugin.methods import METHODS
from hbo_plugin.search.candidates import Candidate


def test_what_a_training_step_costs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("axolotl")
    monkeypatch.setattr(training_cases, "RUN_STEPS", 8)
    monkeypatch.setattr(training_cases, "RUNS", 1)
    monkeypatch.setattr(training_cases, "QUICK", (training_cases.Setting("tiny", 8, 8, 2),))
    main(["training", "--quick", "--json", "-"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    weighed = {f"tiny/row weights, {name}" for name in training_cases.ROW_WEIGHTS}
    assert set(result["headline"]) == {"tiny/reuse", "tiny/probe", *weighed, "tiny/axolotl"}
    assert all(result["headline"][case] > 1 for case in weighed)
    parts = {row["name"] for row in result["rows"] if row["case"] == "tiny/reuse, of that"}
    assert parts == {"sampling", "loading", "signals", "update", "logging"}
    assert all(row["unit"] == "s" for row in result["rows"])


def test_every_method_of_supervised_training_is_tried(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    main(["methods", "--steps", "4"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in training_cases.TRIED)
    assert {*METHODS} - {*training_cases.TRIED} == {"frontier"}


def test_methods_are_compared_on_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(comparison, "FIRST_STEPS", 2)
    monkeypatch.setattr(comparison, "STEPS", 4)
    monkeypatch.setattr(mixtures, "SIZES", range(10, 90, 10))
    family = mixtures.FAMILIES["all count"]
    few = {name: family.arms[name] for name in (family.baseline, "uniform", "hbo")}
    small = replace(family, arms={**few, "the same": few[family.baseline]})
    monkeypatch.setattr(comparison, "FAMILIES", {"all count": small})

    def compared(*options: str) -> dict[str, Any]:
        main(["compare", "--seeds", "2", *options, "--json", "-"], standalone_mode=False)
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    found = compared("--out", str(tmp_path / "runs"))
    arms = {arm["arm"]: arm for arm in found["rows"]["all count"]["arms"]}
    assert [*arms] == [*small.arms]
    assert arms["the same"]["difference"]["mean"] == 0
    assert arms["uniform"]["difference"]["mean"] == pytest.approx(
        arms["uniform"]["target"] - arms["the same"]["target"]
    )
    assert arms["uniform"]["difference"]["mean"] != 0
    # What has ended is not made again, here or elsewhere.
    monkeypatch.setattr(comparison, "first_model", None)
    assert compared("--out", str(tmp_path / "runs"))["rows"] == found["rows"]
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(found))
    assert compared("--out", str(tmp_path / "elsewhere"), "--earlier", str(earlier))["rows"] == found["rows"]


@pytest.mark.parametrize("name", mixtures.FAMILIES)
def test_a_mixture_has_rows_apart_for_what_counts_and_arms_that_hbo_takes(name: str) -> None:
    family = mixtures.FAMILIES[name]
    train, held_out = family.rows(3)
    assert set(held_out) == set(family.counts) <= set(train)
    for counts, rows in held_out.items():
        assert {tuple(row["input_ids"]) for row in rows}.isdisjoint(tuple(row["input_ids"]) for row in train[counts])
    assert train == family.rows(3)[0] != family.rows(4)[0]
    arms = find_arms({**family.block, "target": [*family.counts]}, (), family.arms, family.baseline, controls=False)
    assert [arm.name for arm in arms] == [*family.arms]
    for arm in arms:
        prior = arm.block.get("prior")
        assert not isinstance(prior, dict) or (prior.keys() == train.keys() and sum(prior.values()) == pytest.approx(1))


def test_a_mixture_is_as_bad_as_it_says() -> None:
    def distinct(rows: list[dict[str, Any]]) -> int:
        return len({tuple(row["input_ids"]) for row in rows})

    def wrong(task: str, rows: list[dict[str, Any]]) -> float:
        """Share of rows whose answer is not that of the task."""
        answers = (
            tasks.TASKS[task](np.array(row["input_ids"][1 : (len(row["input_ids"]) + 1) // 2 - 1])) for row in rows
        )
        pairs = zip(answers, rows, strict=True)
        return float(np.mean([answer.tolist() != row["labels"][-1 - len(answer) : -1] for answer, row in pairs]))

    copied, _ = mixtures.FAMILIES["duplicates"].rows(0)
    assert sorted(len(rows) - distinct(rows) for rows in copied.values()) == [0] * 7 + [3800]
    labels, held_out = mixtures.FAMILIES["wrong labels"].rows(0)
    shares = {len(rows): wrong(task, rows) for task, rows in labels.items()}
    assert shares[2000] > 0.99
    assert 0.45 < shares[1000] <= 0.5
    assert shares[4000] == 0
    assert all(wrong(task, rows) == 0 for task, rows in held_out.items())


def test_looking_at_a_model_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logits are held in parts that are as small beside them all as at full size."""
    pytest.importorskip("transformers")
    from hbo_plugin.signals import tokens

    monkeypatch.setattr(tokens, "_CHUNK", 1 << 15)
    main(["memory", "--tokens", "256", "--vocabulary", "8192", "--json", "-"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["plain"] > 8
    assert found["observed"] < 1.03 * found["plain"]
    assert max(found[way] for way in ("fused", "probe", "gradient_probe", "scoring")) < 2


def test_packing_is_measured_on_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.ClickException) as caught:
        main(["packing", "--quick"], standalone_mode=False)
    assert caught.value.message == (
        "there are no rows in `demo/data/train`, on which packing is measured: run `make demo` in this folder first."
    )
    packing.DEMO.mkdir(parents=True)
    chat = {"messages": [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "3, 45."}]}
    alpaca = {"instruction": "one", "input": "", "output": "two three"}
    rows = [chat, alpaca, {"text": "many words " * 100}]
    (packing.DEMO / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = {}
    monkeypatch.setattr(packing, "measure_packing", lambda sets, *_, **__: measured.update(sets))
    main(["packing", "--quick"], standalone_mode=False)
    assert list(measured) == ["demo", "instructions", "documents"]
    assert measured["demo"].lengths(10).tolist() == [7, 3, 200]


def test_starting_writes_nothing_when_everything_is_prepared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("axolotl")
    monkeypatch.setattr(start, "QUICK", {"two datasets": (40, 20)})
    main(["start", "--quick", "--repeats", "1", "--json", "-"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert set(result["headline"]) == {"two datasets"}
    assert [row["name"] for row in result["rows"]] == [start.OFF, start.ON]
    assert all("; 0 files written" in row["note"] for row in result["rows"])


def test_scoring_is_measured_beside_the_decoder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("axolotl")
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    monkeypatch.setattr(scoring, "SHAPES", {"one layer": {**shape, "num_attention_heads": 1}})
    main(["scoring", "--rows", "6", "--repeats", "1", "--json", "-"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert set(result["headline"]) == {"one layer"}
    assert [row["name"] for row in result["rows"]] == [scoring.DECODER, scoring.SCORING]
    assert all("tokens a second" in row["note"] for row in result["rows"])


def test_rows_of_a_task_are_different_and_right() -> None:
    rng = np.random.default_rng(0)
    rows = tasks.task_rows("reverse", 50, rng)
    others = tasks.task_rows("reverse", 50, rng, apart_from=rows)
    assert len({tuple(row["input_ids"]) for row in rows + others}) == 100
    for row in rows:
        digits = (len(row["input_ids"]) - 3) // 2
        assert row["input_ids"][1 : 1 + digits] == row["labels"][-2 : -2 - digits : -1]
        assert row["labels"][: digits + 2] == [-100] * (digits + 2)


def small_start(monkeypatch: pytest.MonkeyPatch, benchmark: Any) -> None:
    """Let a benchmark of the real model begin with the tiny one, and with few rows."""
    training_run = pytest.importorskip("benchmarks.training_run")
    start = real_model.Pretrained(training_run.MODELS["tiny"](), lambda text: [*text.encode()], end=3)
    monkeypatch.setattr(benchmark, "pretrained", lambda: start)
    monkeypatch.setattr(quickstart_search_data, "OTHER_ROWS", 20)


def test_a_finished_run_for_a_target_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    small_start(monkeypatch, targets)
    out, arms = tmp_path / "runs", (targets.BASELINE, "by hand")

    def shown(seeds: int, *options: str) -> dict[str, Any]:
        chosen = [word for arm in arms for word in ("--only", arm)]
        main(
            ["targets", "--seeds", str(seeds), "--steps", "2", *chosen, *options, "--json", "-"], standalone_mode=False
        )
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    def trained(seeds: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = shown(seeds, "--out", str(out))["rows"]
        return rows

    baseline, hand = trained(1)
    assert (baseline["arm"], hand["arm"]) == arms
    assert baseline["difference"] == 0
    assert baseline["error"] is None
    assert hand["difference"] == pytest.approx(hand["loss"] - baseline["loss"])
    assert hand["difference"] == pytest.approx(np.mean([*hand["differences"].values()]))
    assert hand["weights"]["noise"] == 0
    assert sum(baseline["weights"].values()) == pytest.approx(1)
    # What is there is taken as it is, so a changed file shows in the table.
    (file,) = out.glob("by-hand.*.json")
    file.write_text(file.read_text().replace(f'"loss": {hand["loss"]}', f'"loss": {hand["loss"] + 1}'))
    again = trained(2)
    assert [row["seeds"] for row in again] == [2, 2]
    assert again[1]["error"] == pytest.approx(0.5, rel=0.2)
    # Another process makes a run as long as it holds the lock, and no longer.
    file.unlink()
    with FileLock(file.with_suffix(".lock")):
        assert [row["seeds"] for row in trained(2)] == [2, 1]
    # Nor are the runs that another machine made.
    earlier, elsewhere = tmp_path / "earlier.json", tmp_path / "elsewhere"
    earlier.write_text(json.dumps(shown(2, "--out", str(out))))
    assert (
        shown(2, "--out", str(elsewhere), "--earlier", str(earlier))["runs"] == json.loads(earlier.read_text())["runs"]
    )
    assert not [*elsewhere.iterdir()]
    assert [row["seeds"] for row in trained(2)] == [2, 2]


def trial(part: int, seed: int, candidate: Candidate, loss: float) -> trials.Result:
    """A trial that ended with one loss for both targets."""
    losses = dict.fromkeys(quickstart_search_data.HELPERS, loss)
    return trials.Result(part, seed, candidate.name, losses, losses, losses, {})


def test_short_trials_are_ranked_against_whole_runs() -> None:
    candidates = [*enumerate(trials.CANDIDATES)]
    whole = [trial(1, 0, candidate, 1.0 + 0.1 * rank) for rank, candidate in candidates]
    short = [trial(8, 0, candidate, 2.0 - 0.011 * rank) for rank, candidate in candidates]
    first = trials.CANDIDATES[1]
    one, eighth = trials.ranked([*whole, *short, trial(4, 0, first, 1.0), trial(8, 1, first, 1.0)])
    assert (one.part, one.as_whole, one.readings) == (1, 2, 2)
    assert (eighth.part, eighth.as_whole, eighth.readings) == (8, 0, 2)
    assert (one.order, eighth.order) == pytest.approx((1, -1))
    # Of one target the helper is the first dataset, of the other the second.
    assert one.helper_first == 1
    assert one.helper == pytest.approx(np.mean([0.1, 0.2]))
    assert one.lowest_other == pytest.approx(0.1)
    assert (one.clearly, one.others) == (0, 10)
    assert eighth.clearly == 4
    # Losses at half are those at the end, for both targets alike.
    assert (one.given_up, one.helpers_given_up, one.trials) == (6, 2, 6)
    assert (eighth.given_up, eighth.helpers_given_up, eighth.trials) == (0, 0, 6)


def test_a_finished_trial_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    small_start(monkeypatch, trials)
    monkeypatch.setattr(trials, "STEPS", 4)
    monkeypatch.setattr(trials, "PARTS", (1, 2))
    command = ["trials", "--seeds", "1", "--out", str(tmp_path), "--json", "-"]
    main(command, standalone_mode=False)
    first = json.loads(capsys.readouterr().out)
    assert [row["part"] for row in first["rows"]] == [1, 2]
    assert len(first["runs"]) == 2 * len(trials.CANDIDATES)
    assert first["rows"][0]["as_whole"] == 2
    monkeypatch.setattr(trials, "pretrained", None)
    main(command, standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["runs"] == first["runs"]
    earlier = tmp_path / "earlier"
    earlier.write_text(json.dumps(first))
    main([*command[:4], str(tmp_path / "elsewhere"), *command[5:], "--earlier", str(earlier)], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["runs"] == first["runs"]


def test_rows_of_a_target_are_different_and_right() -> None:
    train, held_out = quickstart_search_data.pairs(0)
    assert set(held_out) == set(quickstart_search_data.HELPERS)
    for name, rows in train.items():
        questions = {question for question, _ in rows + held_out.get(name, [])}
        assert len(questions) == (160 if name in held_out else 1500)
    for question, answer in train["backwards"]:
        assert answer == " ".join(reversed(question.split()[0]))
    numerals = [quickstart_search_data.roman_numeral(number) for number in (444, 909, 2026)]
    assert numerals == ["CDXLIV", "CMIX", "MMXXVI"]


def test_a_search_of_a_small_model_is_counted_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(comparison, "FIRST_STEPS", 2)
    monkeypatch.setattr(searches, "STEPS", 16)
    monkeypatch.setattr(searches, "SEEDS", 2)
    family = "target with helpers"
    command = ["searches", "--searches", "1", "--family", family, "--out", str(tmp_path), "--json", "-"]
    main(command, standalone_mode=False)
    first = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["family"], row["searches"], sum(row["named"].values())) for row in first] == [(family, 1, 1)]
    assert all(row["named_by_comparison"] >= len(row["again"]) for row in first)
    trials_of_it = [path.name for path in (tmp_path / "target-with-helpers/0/trials").iterdir()]
    assert sorted(trials_of_it) == sorted(
        f"rest-{to}.0" for to in ("even", *("to-first-more", "to-second-more"), *(f"to-other-{i}" for i in range(1, 5)))
    )
    assert (tmp_path / "target-with-helpers/0/confirm/rest-even.1").is_dir()
    monkeypatch.setattr(comparison, "first_model", None)
    main(command, standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["rows"] == first


@pytest.mark.axolotl
def test_runs_of_grpo_are_compared_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("axolotl")
    small = {"PRETRAINED": 60, "STEPS": 4, "ROWS": 64, "HELD_OUT": 16, "PROMPTS": 4}
    for name, value in small.items():
        monkeypatch.setattr(rollouts, name, value)
    arms = {name: block for name, block in rollouts.ARMS.items() if name != "hbo"}
    monkeypatch.setattr(rollouts, "ARMS", arms)
    command = ["rollouts", "--seeds", "1", "--out", str(tmp_path / "runs"), "--json", str(tmp_path / "told.json")]
    main(command, standalone_mode=False)
    first = json.loads((tmp_path / "told.json").read_text())
    runs = {run["arm"]: run for run in first["runs"]}
    assert runs.keys() == arms.keys()
    static, moved = runs["static"], runs["frontier"]
    assert static["before"] == moved["before"] != static["after"]
    assert 0 < static["no_variance"] < 1
    row = next(row for row in first["rows"] if row["arm"] == "frontier")
    assert row["difference"] == pytest.approx(
        np.mean([moved["after"][task] - static["after"][task] for task in rollouts.TASKS])
    )
    assert row["saved"] == pytest.approx(1 - moved["no_variance"] / static["no_variance"])
    monkeypatch.setattr(rollouts, "_pretrain", None)
    main(command, standalone_mode=False)
    assert json.loads((tmp_path / "told.json").read_text())["rows"] == first["rows"]


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (None, "nothing"),
        ("rest to first, more", "one helper"),
        ("rest to first, more and second, more", "both helpers"),
        ("rest to other 1 and second, more", "other datasets"),
    ],
)
def test_what_a_search_named_is_told_alike_for_all_mixtures(chosen: str | None, told: str) -> None:
    assert searches._told(chosen) == told
