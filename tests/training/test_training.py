"""Real Axolotl runs with a tiny model: the weights move, nothing is lost, and measuring leaves no trace."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from runs import history, lines, load, read_trace, train

pytestmark = pytest.mark.axolotl


def test_the_mixture_moves_and_is_shown(make_config: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(make_config())
    trace = read_trace(folder)
    assert [(record["event"], record["step"]) for record in trace] == [
        ("start", 0),
        ("update", 3),
        ("update", 6),
        ("update", 9),
        ("end", 12),
    ]
    first, last = trace[0]["weights"], trace[-1]["weights"]
    assert sum(sum(levels) for levels in last.values()) == pytest.approx(1)
    assert any(abs(sum(last[name]) - sum(first[name])) > 1e-3 for name in first)
    assert sum(sum(cells) for cells in trace[-1]["rows_trained"].values()) == 12 * 4
    weights = history(folder, "hbo/weight/sums")
    assert sorted(weights) == list(range(1, 13))
    assert weights[12] == pytest.approx(sum(last["sums"]))
    shown = capsys.readouterr().out
    assert "\nThe mixture by the method hbo, 2 levels a dataset by length\n" in shown
    assert "\nTrains for 12 steps.\n" in shown
    assert "\nThe mixture after 12 steps, 48 rows trained on\n" in shown


def last_scalars(folder: Path) -> dict[str, float]:
    """What was logged with the last training loss."""
    log = json.loads((folder / "checkpoint-12" / "trainer_state.json").read_text())["log_history"]
    scalars: dict[str, float] = next(record for record in reversed(log) if "loss" in record)
    return scalars


def test_every_scalar_reaches_the_log(make_config: Any) -> None:
    """One a dataset: those of levels are logged where `log_levels` asks for them."""
    folder = train(make_config(val_set_size=0.1, eval_steps=6))
    last = last_scalars(folder)
    assert not [key for key in last if key.startswith("hbo/level_") or key.endswith(("/0", "/1"))]
    for name in ("sums", "words", "tales"):
        assert {f"hbo/weight/{name}", f"hbo/epochs/{name}"} <= last.keys()
        assert 0 <= last[f"hbo/share/row/{name}"] <= 1
        assert 0 <= last[f"hbo/share/token/{name}"] <= 1
        assert 0 <= last[f"hbo/share/trained_token/{name}"] <= 1
        assert last[f"hbo/signal/gradient_norm/{name}"] > 0
        assert last[f"hbo/signal/perplexity_ratio/{name}"] > 0
        assert history(folder, f"eval_{name}_loss")[0] > 0
    assert last["hbo/overhead/seconds"] > 0
    assert 0 < last["hbo/overhead/share"] < 1
    assert sum(last[f"hbo/share/token/{name}"] for name in ("sums", "words", "tales")) == pytest.approx(1)


def test_levels_are_logged_where_they_are_asked_for(make_config: Any) -> None:
    config = make_config()
    config["hbo"]["log_levels"] = True
    folder = train(config)
    last, trace = last_scalars(folder), lines(folder / "hbo_trace.jsonl")
    measured = trace[-2]["signals"]
    assert measured.keys() == {"gradient_norm", "perplexity_ratio"}
    for name in ("sums", "words", "tales"):
        weights = [last[f"hbo/level_weight/{name}/{level}"] for level in (0, 1)]
        assert weights == pytest.approx(trace[-1]["weights"][name])
        assert sum(weights) == pytest.approx(last[f"hbo/weight/{name}"])
        for level, value in enumerate(measured["perplexity_ratio"][name]):
            assert last.get(f"hbo/level_signal/perplexity_ratio/{name}/{level}") == value
        assert last.get(f"hbo/signal/gradient_norm/{name}") == measured["gradient_norm"][name]
    assert not [key for key in last if key.startswith("hbo/level_signal/gradient_norm/")]


def test_the_console_shows_one_short_line_an_update(make_config: Any, capfd: pytest.CaptureFixture[str]) -> None:
    folder = train(make_config())
    printed = "".join(capfd.readouterr())
    updates = [line for line in printed.splitlines() if "hbo: step " in line]
    assert [line.split(":")[1] for line in updates] == [" step 3", " step 6", " step 9"]
    assert all(0 < line.count(" → ") <= 4 and len(line) < 100 for line in updates)
    assert "'loss': " in printed
    scalars = [key for key in last_scalars(folder) if key.startswith("hbo/")]
    assert len(scalars) > 12
    assert [key for key in scalars if key in printed] == []


def test_recorded_rows_are_the_stream(make_config: Any) -> None:
    """What the loader handed to the model is what the stream says, also across the change of weights."""
    from hbo_plugin import MixtureSampler

    folder = train(make_config())
    recorded = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    state = json.loads((folder / "checkpoint-12" / "hbo_state.json").read_text())
    stream = MixtureSampler.from_state_dict(state["mixture"])
    assert recorded == stream.fill(0, 48).tolist()


def test_measuring_never_changes_the_training(make_config: Any, tmp_path: Path) -> None:
    """`floor: 1` holds the weights at the prior, so that only the probes differ between the two runs."""
    hbo = {"levels": 2, "floor": 1.0, "record_rows": True, "gradient_rows": 4, "forward_rows": 4}
    lora = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.3, "lora_target_linear": True}
    runs = [
        train(make_config(hbo={**hbo, "update_every": every}, output_dir=str(tmp_path / str(every)), **lora))
        for every in (2, 1000)
    ]
    assert [len(read_trace(run)) for run in runs] == [2 + 5, 2]
    assert history(runs[0], "loss") == history(runs[1], "loss")
    assert history(runs[0], "grad_norm") == history(runs[1], "grad_norm")
    assert lines(runs[0] / "hbo_rows.jsonl") == lines(runs[1] / "hbo_rows.jsonl")


def test_hbo_as_published_runs(make_config: Any) -> None:
    folder = train(make_config(hbo={"published": True, "update_every": 4, "levels": 2, "replacement": True}))
    first, last = (read_trace(folder)[index]["weights"] for index in (0, -1))
    assert {name: sum(levels) for name, levels in first.items()} == pytest.approx(
        {"sums": 80 / 136, "words": 40 / 136, "tales": 16 / 136}
    )
    # Two updates of 200 Adam steps at 1e-4, of which the first goes some three times as far as 0.02 a logit.
    for name in first:
        assert 0 < abs(math.log(sum(last[name]) / sum(first[name]))) < 0.25


@pytest.mark.parametrize("prior", ["proportional", 3, "uniform"])
def test_a_static_mixture_stays_at_its_prior(make_config: Any, prior: object) -> None:
    trace = read_trace(train(make_config(hbo={"method": "static", "prior": prior, "max_epochs": None})))
    assert [record["event"] for record in trace] == ["start", "end"]
    assert trace[0]["weights"] == trace[1]["weights"]


def test_full_options_with_lora(make_config: Any) -> None:
    """LoRA, gradient checkpointing, accumulation, a held-out share and an adapter's own checkpoint, at once."""
    config = make_config(
        adapter="lora",
        lora_r=4,
        lora_alpha=8,
        lora_target_linear=True,
        gradient_checkpointing=True,
        val_set_size=0.1,
        eval_steps=6,
        max_steps=7,
        gradient_accumulation_steps=3,
    )
    folder = train(config)
    assert (folder / "adapter_model.safetensors").exists()
    evaluations = [record for record in read_trace(folder) if record["event"] == "evaluate"]
    assert [record["step"] for record in evaluations][:2] == [0, 6]
    assert all(math.isfinite(loss) for record in evaluations for loss in record["held_out"].values())


def test_the_repetition_cap_binds(make_config: Any) -> None:
    """Under a uniform prior 12 steps would take all 16 tales; with a cap of their own they give at most 8 rows."""
    hbo = {"method": "static", "prior": "uniform", "max_epochs": {"tales": 0.5}}
    last = read_trace(train(make_config(hbo=hbo)))[-1]
    assert last["capped"] == {"sums": [False], "words": [False], "tales": [True]}
    assert sum(last["rows_trained"]["tales"]) <= 8


def test_preprocess_leaves_nothing_to_prepare(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`axolotl preprocess` tokenises and scores; `axolotl train` then finds both, also after the mixture changed."""
    import axolotl.datasets
    from axolotl.cli.args import PreprocessCliArgs
    from axolotl.cli.preprocess import do_preprocess

    from hbo_plugin.data import difficulty

    config = make_config({"sums": 24, "words": 16}, dataset_prepared_path=str(tmp_path / "prepared"))
    config["hbo"]["difficulty"] = "ifd"
    monkeypatch.setenv("AXOLOTL_IS_PREPROCESS", "1")
    do_preprocess(load(config, tmp_path), PreprocessCliArgs(download=False))
    monkeypatch.delenv("AXOLOTL_IS_PREPROCESS")

    def refuse(*_args: Any, **_kwargs: Any) -> None:
        pytest.fail("prepared again")

    monkeypatch.setattr(axolotl.datasets.TokenizedPromptDataset, "process", refuse)
    monkeypatch.setattr(difficulty.Scorer, "_batch_scores", refuse)
    config["datasets"].reverse()
    train({**config, "seed": 8})


def test_evaluate_simply_works(make_config: Any, tmp_path: Path) -> None:
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.evaluate import do_evaluate

    do_evaluate(load(make_config(val_set_size=0.2), tmp_path), TrainerCliArgs())


def test_without_a_block_the_plugin_is_inert(make_config: Any) -> None:
    folder = train(make_config(hbo=None))
    assert not list(folder.rglob("hbo_*"))
    assert history(folder, "loss").keys() == set(range(1, 13))


def test_a_method_of_ones_own(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page on extending, as a user would follow it."""
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (tmp_path / "my_package.py").write_text(page.split("```python\n", 1)[1].split("```", 1)[0])
    monkeypatch.syspath_prepend(tmp_path)
    hbo = {"method": "my_package.HighLoss", "settings": {"power": 2}, "update_every": 3, "levels": 2}
    trace = read_trace(train(make_config(hbo=hbo)))
    assert trace[0]["weights"] != trace[1]["weights"]
    assert trace[1]["signals"].keys() == {"loss"}


def test_the_best_model_may_be_that_of_one_dataset(make_config: Any) -> None:
    """Each dataset's held-out loss is a metric like `eval_loss`, which stays what it was; early stopping sees both."""
    config = make_config(
        val_set_size=0.1,
        eval_steps=4,
        load_best_model_at_end=True,
        metric_for_best_model="eval_words_loss",
        greater_is_better=False,
        early_stopping_patience=3,
    )
    folder = train(config)
    losses = history(folder, "eval_words_loss")
    assert history(folder, "eval_loss").keys() == losses.keys() == {0, 4, 8, 12}
    state = json.loads((folder / "checkpoint-12" / "trainer_state.json").read_text())
    assert state["best_metric"] == min(losses[step] for step in (4, 8, 12))
