"""`bench scale`: its form, and that the rank it plays is one of the run's. No timing."""

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("accelerate")

from hbo_plugin.bench import cli, scale
from hbo_plugin.bench.planners import PLANNERS
from hbo_plugin.bench.played import PlayedRun, cells_of
from hbo_plugin.bench.scale_plan import FULL, Place, Plan

TINY = Plan(
    base=Place(2, 10_000, 512),
    ranks=(1, 4),
    rows=(10_000, 10**12),
    cells=(8, 512),
    changes=3,
    repeats=1,
    lengths=10_000,
    resumed=(1000,),
    planned=(),
)
LENGTHS = np.full(10_000, 8, np.int32)


def test_the_quick_form_says_what_was_measured_and_what_was_refused() -> None:
    """The same command as in CI and on the page."""
    done = CliRunner().invoke(cli.bench, ["scale", "--quick", "--json", "-"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert set(found) == {"rows", "refused", "environment"}
    for row in found["rows"]:
        if row["value"] is None:
            assert row["note"]
        else:
            assert row["spread"][0] <= row["value"] <= row["spread"][1]
    assert {row["rows"] for row in found["rows"]} == {10**6, 10**12}
    messages = {each["asked"]: each["message"] for each in found["refused"]}
    assert messages["a cell of 2^31 + 1 rows"] == (
        "`cell_sizes[0]=2147483649` was given, but a cell has at most 2147483648 rows; split it into several cells."
    )


def test_the_tables_have_every_question(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scale, "FULL", TINY)
    done = CliRunner().invoke(cli.bench, ["scale", "--json", str(tmp_path / "scale.json")], catch_exceptions=False)
    found = json.loads((tmp_path / "scale.json").read_text())
    for row in found["rows"]:
        assert row["question"] in done.stdout
    compared = {row["ranks"]: row["value"] for row in found["rows"] if row["name"].startswith("the comparison")}
    assert compared == {1: 0, 4: 4 * 40}


@pytest.mark.parametrize("packed", [False, True])
def test_the_ranks_together_train_on_the_stream(tmp_path: Path, *, packed: bool) -> None:
    """Each rank is played in a run of its own, as a process of its own has one."""
    runs = [PlayedRun(cells_of(10_000, 8, LENGTHS), 3, 4, tmp_path, packed=packed) for _ in range(3)]
    played = [run.batches(rank) for rank, run in enumerate(runs)]
    for _ in range(4):
        batches = [next(batches) for batches in played]
        shares = [[*chain.from_iterable(batch)] if packed else batch for batch in batches]
        for rank, run in enumerate(runs):
            assert [*chain.from_iterable(run.batcher.batches()[rank])] == shares[rank]
            assert run.finish_step(rank) == sum(map(len, shares))
    assert all(np.array_equal(run.balancer.rows_trained, runs[0].balancer.rows_trained) for run in runs)


def test_the_whole_range_is_asked() -> None:
    assert (min(FULL.ranks), max(FULL.ranks)) == (1, 4096)
    assert (min(FULL.rows), max(FULL.rows)) == (10**6, 10**12)
    assert (min(FULL.cells), max(FULL.cells)) == (8, 65_536)
    assert FULL.changes == 10_000


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner_begins_its_epoch(name: str) -> None:
    assert 0 <= PLANNERS[name](50) < 50
