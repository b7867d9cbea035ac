"""Pairs and reward models: shares, levels, groups and caps hold, held-out sets are told apart, and a killed run goes on.

Which features of a kind run is asked of the table; each of them stands in one of the configurations below, but for a method
that adapts, which test_pair_signals.py runs.
"""

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
from margins import text_margin
from pairs import FOLLOWED, MADE, SIZES, of_kind
from resume import assert_resumes
from runs import Config, features_asked, history, lines, load, read_trace, train
from transformers import AutoModelForCausalLM

from hbo_plugin import drawn_rows
from hbo_plugin.args import HBOConfig
from hbo_plugin.check.cli import check
from hbo_plugin.data import load as data
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.features import FEATURES
from hbo_plugin.kinds import KINDS
from hbo_plugin.report.cli import report
from hbo_plugin.score import score

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.axolotl

BLOCK = 256
"""Draws in which each cell has its exact share."""
BY_LENGTH: Config = {
    "weights": [{"until": 8, "a": 50, "b": 30, "c": 20}, {"a": 20, "b": 60, "c": 20}],
    "levels": 2,
    "difficulty": "length",
    "max_epochs": {"c": 1},
    "record_rows": True,
}
BY_COLUMN: Config = {
    "group_by": "source",
    "method": "static",
    "prior": {"a0": 30, "a1": 10, "b0": 20, "b1": 15, "c0": 15, "c1": 10},
    "levels": 2,
    "difficulty": "hardness",
    "unit": "token",
    "record_rows": True,
}
BY_MARGIN: Config = {
    "weights": {"a": 50, "b": 30, "c": 20},
    "levels": 2,
    "difficulty": "margin",
    "record_rows": True,
}
STEP = {"micro_batch_size": 8, "gradient_accumulation_steps": 2}
SCORED = [kind for kind in MADE if "margin" not in KINDS[kind].lacks]


@pytest.fixture
def of(make_config: Any, tmp_path: Path) -> Callable[..., Config]:
    """A function that gives a configuration of a kind with an `hbo:` block; keywords replace keys."""

    def make(kind: str, hbo: Config, **changes: Any) -> Config:
        return of_kind(make_config(hbo=hbo, **STEP, **changes), kind, tmp_path)

    return make


def by_length(of: Callable[..., Config], kind: str) -> Config:
    """A run of two phases."""
    return of(kind, BY_LENGTH, max_steps=16, num_epochs=4, save_steps=6)


def by_column(of: Callable[..., Config], kind: str) -> Config:
    """A run of as many rows as a block of draws has, with three evaluations."""
    return of(kind, BY_COLUMN, max_steps=BLOCK // 16, num_epochs=4, save_steps=16, val_set_size=0.2, eval_steps=8)


def by_margin(of: Callable[..., Config], kind: str) -> Config:
    """A run whose rows a model scores."""
    return of(kind, BY_MARGIN, max_steps=8, num_epochs=4, save_steps=8)


@pytest.mark.parametrize("kind", MADE)
def test_what_a_kind_is_said_to_do_is_run_below(of: Any, tmp_path: Path, kind: str) -> None:
    assert {name for name, each in KINDS.items() if not each.generates} == {"", *MADE}
    run = features_asked(by_length(of, kind), tmp_path) | features_asked(by_column(of, kind), tmp_path)
    if KINDS[kind].source:
        run |= features_asked(of(kind, FOLLOWED), tmp_path)
    if kind in SCORED:
        run |= features_asked(by_margin(of, kind), tmp_path)
    assert run == {*FEATURES} - KINDS[kind].lacks


@pytest.mark.parametrize("kind", MADE)
def test_a_killed_run_goes_on_and_has_its_shares(
    of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    config = by_length(of, kind)
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(check, [str(path), "--json", "-"], catch_exceptions=False)
    planned = {each["name"]: each for each in json.loads(done.stdout)["plan"]["datasets"]}
    folder = assert_resumes(config, monkeypatch, crash_at=9)
    rows = [*drawn_rows(folder)]
    counts = Counter(row.dataset for row in rows)
    assert counts == {name: each["rows_drawn"] for name, each in planned.items()}
    assert counts["c"] <= SIZES["c"] < 0.2 * len(rows)  # as `max_epochs` says
    assert {name: planned[name]["rows"] for name in SIZES} == SIZES
    # Of blocks that are not full, shares are nearly those that were asked. What was drawn ahead belongs to the first phase.
    for share, steps in ((5 / 8, range(1, 10)), (1 / 4, range(10, 17))):
        found = Counter(row.dataset for row in rows if row.step in steps)
        assert found["a"] / (found["a"] + found["b"]) == pytest.approx(share, abs=0.06)
    told = CliRunner().invoke(report, [str(folder)], catch_exceptions=False).stdout
    assert "The mixture after 16 steps, 256 rows trained on" in told


def assert_evaluated(folder: Path) -> None:
    """Each evaluation has the loss of each held-out set, and the mean of them as that of the target."""
    found = {record["step"]: record for record in read_trace(folder) if record["event"] == "evaluate"}
    assert [*found] == [0, 8, 16]
    logged = {name: history(folder, f"eval_{name}_loss") for name in (*BY_COLUMN["prior"], "target")}
    for step, record in found.items():
        assert record["held_out"] == {name: logged[name][step] for name in BY_COLUMN["prior"]}
        assert record["target"] == pytest.approx(np.mean([*record["held_out"].values()]))
        assert record["target"] == logged["target"][step]
    assert logged["a0"][0] != logged["a0"][16]


@pytest.mark.parametrize("kind", MADE)
def test_the_trainer_trains_on_the_rows_that_were_drawn(of: Any, kind: str) -> None:
    """Grouped by a column of the user's, with levels by another, and shares of tokens."""
    config = by_column(of, kind)
    config["plugins"] += ["collated.CollatedPlugin"]
    folder = train(config)
    rows, batches = [*drawn_rows(folder)], lines(folder / FILE.format(rank=0))
    files = {entry["path"]: lines(Path(entry["path"])) for entry in config["datasets"]}
    hardness: dict[tuple[str, int], list[int]] = {}
    for row, told in zip(rows, batches, strict=True):
        raw = files[row.entry["path"]][row.raw_row - 1]
        question = raw.get("prompt") or raw.get("input") or raw["messages"][0]["content"]
        assert question in told
        assert raw["source"] == row.dataset
        hardness.setdefault((row.dataset, row.level), []).append(raw["hardness"])
    for dataset in {row.dataset for row in rows}:
        assert max(hardness[dataset, 0]) < min(hardness[dataset, 1])
    assert_shares_of_tokens(config, folder, [row.row for row in rows])
    assert_evaluated(folder)


def assert_shares_of_tokens(config: Config, folder: Path, rows: list[int]) -> None:
    """Each cell has as many rows as its share of tokens needs, to the row; the levels of a dataset follow their sizes."""
    cfg = load(config, folder)
    cells = data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict())).cells
    assert cells.names == (*BY_COLUMN["prior"],)
    owner = np.repeat(np.arange(cells.sizes.size), cells.sizes.ravel())
    mean = np.bincount(owner, weights=cells.lengths) / cells.sizes.ravel()
    prior = np.array([*BY_COLUMN["prior"].values()])[:, None]
    shares = (prior * cells.sizes / cells.sizes.sum(1, keepdims=True)).ravel() / mean
    assert len(rows) == BLOCK
    found = np.bincount(owner[rows], minlength=cells.sizes.size)
    np.testing.assert_array_less(np.abs(found - BLOCK * shares / shares.sum()), 1)


def tokens_of(kind: str, raw: Config, tokenizer: Any) -> tuple[int, int]:
    """Tokens of a row, and how many of them its loss looks at, counted from what the user wrote."""

    def count(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    if kind == "process_reward_model":
        parts = [raw["prompt"], *(f"{step}\n" for step in raw["completions"])]
        return 1 + count(parts[0]) + sum(count(part[:-1]) + count("\n") for part in parts[1:]), 2
    if kind == "reward_model":
        both = [
            tokenizer.apply_chat_template(
                [
                    {"role": role, "content": raw[key]}
                    for role, key in (("system", "system"), ("user", "input"), ("assistant", answer))
                ],
                tokenize=False,
            )
            for answer in ("chosen", "rejected")
        ]
        return sum(map(count, both)), 2
    prompt, *answers = texts_of(kind, raw, tokenizer)
    answered = sum(map(count, answers))
    return 2 * count(prompt) + answered, answered


def texts_of(kind: str, raw: Config, tokenizer: Any) -> tuple[str, str, str]:
    """The prompt and the two answers of a row, as the trainer gets them."""
    if kind == "dpo":
        prompt = tokenizer.apply_chat_template(raw["messages"], tokenize=False, add_generation_prompt=True)
        return prompt, f"{raw['chosen']['content']}</s>", f"{raw['rejected']['content']}</s>"
    return raw["prompt"], raw["chosen"], raw["rejected"]


@pytest.mark.parametrize("kind", MADE)
def test_the_length_of_a_row_is_that_of_all_that_it_trains_on(of: Any, tmp_path: Path, kind: str) -> None:
    from hbo_plugin.compat import load_tokenizer

    cfg = load(of(kind, BY_LENGTH), tmp_path)
    loaded = data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    tokenizer = load_tokenizer(cfg)
    assert loaded.origins is not None
    for index, entry in enumerate(cfg.datasets):
        rows = loaded.cells.dataset_rows(index)
        raw = lines(Path(entry["path"]))
        wanted = [tokens_of(kind, raw[row], tokenizer) for row in loaded.origins[rows.start : rows.stop]]
        found = [loaded.cells.lengths, loaded.cells.trained]
        np.testing.assert_array_equal([each[rows.start : rows.stop] for each in found], np.array(wanted).T)
        assert (np.diff(loaded.cells.lengths[rows.start : rows.stop]) >= 0).all()


@pytest.mark.parametrize("kind", SCORED)
def test_levels_are_cut_by_the_margins_of_the_initial_model(
    of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A check tells that they are missing, the command scores, and the training finds what it scored."""
    from hbo_plugin.compat import load_tokenizer

    config = {**by_margin(of, kind), "dataset_prepared_path": str(tmp_path / "prepared")}
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))

    def unscored() -> dict[str, int]:
        done = CliRunner().invoke(check, [str(path), "--json", "-"], catch_exceptions=False)
        return {each["name"]: each["unscored"] for each in json.loads(done.stdout)["plan"]["datasets"]}

    assert unscored() == SIZES
    done = CliRunner().invoke(score, [str(path)], catch_exceptions=False)
    assert "Every row has its difficulty `margin`" in done.stdout
    assert unscored() == dict.fromkeys(SIZES, 0)
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    rows = [*drawn_rows(train(config))]
    cfg = load(config, tmp_path)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(cfg.base_model).eval(), load_tokenizer(cfg)
    files = {entry["path"]: lines(Path(entry["path"])) for entry in config["datasets"]}
    found: dict[tuple[str, int], dict[int, float]] = {}
    for row in rows:
        texts = texts_of(kind, files[row.entry["path"]][row.raw_row - 1], tokenizer)
        found.setdefault((row.dataset, row.level), {})[row.raw_row] = text_margin(model, tokenizer, *texts)
    for name, size in SIZES.items():
        easy, hard = ([*found[name, level].values()] for level in range(2))
        assert min(len(easy), len(hard)) > size / 4
        assert min(easy) > max(hard) - 1e-5
        assert np.mean(easy) > np.mean(hard) + 1e-3
    for easiest, same in (("high", True), ("low", False)):
        other = HBOConfig.model_validate({**BY_MARGIN, "easiest": easiest})
        loaded = data.load(cfg, other).train["prompt"][:]
        assert (loaded == data.load(cfg, HBOConfig.model_validate(BY_MARGIN)).train["prompt"][:]) == same


def test_kinds_share_no_prepared_rows(of: Any, tmp_path: Path) -> None:
    """Axolotl's own key of a cache does not hold the kind."""
    config = {**of("ipo", BY_LENGTH), "dataset_prepared_path": str(tmp_path / "prepared")}
    loaded = []
    for rl in ("ipo", "orpo", "ipo"):
        cfg = load({**config, "rl": rl}, tmp_path)
        loaded.append(data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict())))
    folders = {path.parent for path in (tmp_path / "prepared").rglob("hbo.json")}
    assert len(folders) == 2 * len(SIZES)
    assert loaded[0].cells.fingerprints == loaded[2].cells.fingerprints
    assert loaded[0].train.column_names == ["prompt", "chosen", "rejected"]


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        (
            "reward_model",
            {"type": "completion", "field": "input"},
            (
                "its rows have `input_ids`, `attention_mask`, `labels`, where this kind of training takes `chosen_ids`, "
                "`rejected_ids`, each a list of tokens; use a `type` that makes them"
            ),
        ),
        ("ipo", {"image": "a.png"}, "its rows have `image`, which hbo cannot batch; remove the column"),
    ],
)
def test_rows_that_are_no_pairs_are_refused(
    of: Any, tmp_path: Path, kind: str, changes: dict[str, str], expected: str
) -> None:
    config = of(kind, BY_LENGTH)
    entry = config["datasets"][1]
    if "image" in changes:
        rows = [{**row, **changes} for row in lines(Path(entry["path"]))]
        Path(entry["path"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        entry.update(changes)
    cfg = load(config, tmp_path)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))
    assert str(error.value) == f"dataset `b`: {expected}."
