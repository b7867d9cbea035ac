"""Branches in real runs: what they measure, and that the run goes on as if they had not been."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from resume import assert_resumes
from runs import history, lines, read_trace, short_run, train

from hbo_plugin.cells import Cells
from hbo_plugin.signals.branches import FINISHED_FILE
from hbo_plugin.signals.gradients import trained_of
from hbo_plugin.training.branching import Branching

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PRIOR = {"sums": 2, "words": 1, "tales": 1}
BRANCHES = {"method": "branches", "branch_at": 4, "branch_steps": 4, "branch_budget": 9, "prior": PRIOR}
LORA = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.2,  # random numbers that a branch must not use up
    "lora_target_linear": True,
}
PACKED = {"sample_packing": True, "eval_sample_packing": False}


def configured(model: Path, corpus: Path, output: Path, block: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return short_run(
        model,
        corpus,
        output,
        hbo={"record_rows": True, "val_set_size": {"sums": 16}, "target": ["sums"], **block},
        **changes,
    )


@pytest.mark.axolotl
@pytest.mark.parametrize("changes", [LORA, PACKED, {"lr_scheduler": "constant"}], ids=["lora", "packed", "full"])
def test_the_run_goes_on_as_if_no_branch_had_been(
    tiny_model: Path, corpus: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    still = train(configured(tiny_model, corpus, tmp_path / "still", {"levels": 4, "weights": PRIOR}, **changes))
    branched = train(configured(tiny_model, corpus, tmp_path / "branched", {**BRANCHES, "even": 1.0}, **changes))
    assert lines(branched / "hbo_rows.jsonl") == lines(still / "hbo_rows.jsonl")
    for key in ("loss", "grad_norm", "learning_rate"):
        assert history(branched, key) == history(still, key)
    (update,) = [record for record in read_trace(branched) if record["event"] == "update"]
    effects, errors, noises = (update["signals"][f"branch_{name}"] for name in ("effect", "error", "noise"))
    assert effects["sums"] == {"sums": None}  # counts, and has no branch
    assert all(effects[name]["sums"] != 0 and errors[name]["sums"] > 0 for name in ("words", "tales"))
    assert noises["words"] == noises["tales"] != {"sums": 0.0}  # branches as the run is draw other rows


def test_rows_further_back_are_of_the_same_cell() -> None:
    lengths = np.ones(8, np.int32)
    cells = Cells(("sums", "words"), np.array([[3, 0], [4, 1]]), lengths, lengths, ())
    assert cells.shifted(np.array([0.0, 0.0])).tolist() == [*range(8)]
    assert cells.shifted(np.array([0.0, 0.5])).tolist() == [0, 1, 2, 5, 6, 3, 4, 7]


@pytest.mark.parametrize("changes", [{}, PACKED], ids=["rows", "packed"])
def test_branches_as_the_run_is_share_the_rows_that_count_alone(
    tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    begin, drawn = Branching.start, []

    def start(branching: Branching, *where: NDArray[np.float64]) -> None:
        begin(branching, *where)
        todo = (
            np.array(branching._todo)
            if not changes
            else np.concatenate([rows for batch in branching._todo for rows in batch])
        )
        drawn.append((todo, branching._balancer.cells.of(todo) == 0))

    monkeypatch.setattr(Branching, "start", start)
    train(configured(tiny_model, corpus, tmp_path / "run", {**BRANCHES, "levels": 1}, **LORA, **changes))
    (first, counted), *others = drawn[:3]
    for rows, counts in others:
        if not changes:
            assert (rows[counts] == first[counted]).all()
            assert (rows[~counts] != first[~counted]).all()
        else:  # bins have rows in another order where some of them have other lengths
            assert len({*rows[counts]} & {*first[counted]}) > 0.8 * counted.sum()
            assert {*rows[~counts]} != {*first[~counted]}


def test_a_branch_ends_at_the_mean_of_its_second_half(
    tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, train_branch = Branching._step, Branching.train
    after: list[list[torch.Tensor]] = []
    compared = []

    def weights(branching: Branching) -> list[torch.Tensor]:
        return [each.detach().clone() for each in trained_of(branching._trainer.model)]

    def recorded(branching: Branching, *batches: Any) -> None:
        step(branching, *batches)
        after.append(weights(branching))

    def checked(branching: Branching, steps: int, **options: bool) -> None:
        train_branch(branching, steps, **options)
        last = after[-steps:] if options else after[-1:]
        for ended, *each in zip(weights(branching), *last, strict=True):
            torch.testing.assert_close(ended, sum(each) / len(each))
        compared.append((steps, len(last)))

    monkeypatch.setattr(Branching, "_step", recorded)
    monkeypatch.setattr(Branching, "train", checked)
    train(configured(tiny_model, corpus, tmp_path / "run", {**BRANCHES, "branch_steps": 5}, **LORA))
    assert compared[:2] == [(2, 1), (3, 3)]


@pytest.mark.axolotl
def test_a_killed_run_goes_on_with_the_branches_that_were_finished(
    tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tiny_model, corpus, tmp_path / "run", {**BRANCHES, "branch_at": 6}, **LORA)
    begin, begun = Branching.start, []

    def start(branching: Branching, weights: NDArray[np.float64], further: NDArray[np.float64]) -> None:
        begun.append((weights.sum(axis=1).tolist(), further.tolist()))
        begin(branching, weights, further)

    monkeypatch.setattr(Branching, "start", start)
    # The second run dies in its fifth branch, of which each has two parts.
    train_branch, parts = Branching.train, []

    def dies(branching: Branching, steps: int, **options: bool) -> None:
        parts.append(steps)
        if len(parts) == 10 + 10:
            raise KeyboardInterrupt
        train_branch(branching, steps, **options)

    monkeypatch.setattr(Branching, "train", dies)
    whole = train({**config, "output_dir": str(tmp_path / "whole")})
    as_it_is = [([0.5, 0.25, 0.25], [0, third / 3, third / 3]) for third in range(3)]
    alone = [([0.5, 0.5, 0.0], [0, 0, 0]), ([0.5, 0.0, 0.5], [0, 0, 0])]
    assert begun == [*as_it_is, *alone]
    died = {**config, "output_dir": str(tmp_path / "died"), "auto_resume_from_checkpoints": True}
    with pytest.raises(KeyboardInterrupt):
        train(died)
    assert [*json.loads((tmp_path / "died" / FINISHED_FILE).read_text())["branches"]] == ["", " ", "  ", "words"]
    begun.clear()
    resumed = train(died)
    assert begun == alone[1:]
    assert read_trace(resumed) == read_trace(whole)
    assert lines(resumed / "hbo_rows.jsonl") == lines(whole / "hbo_rows.jsonl")
    assert history(resumed, "loss") == history(whole, "loss")


@pytest.mark.axolotl
def test_a_run_resumes_after_its_branches(
    tiny_model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tiny_model, corpus, tmp_path / "run", {**BRANCHES, "branch_at": [3, 6]}, **LORA)
    assert_resumes(config, monkeypatch, crash_at=7)
