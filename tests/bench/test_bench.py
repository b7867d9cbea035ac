"""The benchmark's form, its honesty about peers, and that every contender draws what it should. No timing."""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from hbo_plugin import MixtureSampler
from hbo_plugin.bench import cli, memory, packing_data, report
from hbo_plugin.bench.contender import Contender, Mixture, UnableError
from hbo_plugin.bench.limit import limit
from hbo_plugin.bench.measure import Case, Plan, Row, Task, measure
from hbo_plugin.bench.numpy_peers import NumPyTwoStep, NumPyWithoutReplacement, Published
from hbo_plugin.bench.ours import WithoutReplacement, WithReplacement
from hbo_plugin.bench.packing_data import LengthSet
from hbo_plugin.bench.peers import CONTENDERS
from hbo_plugin.bench.sampler_cases import drawing, sampler_cases
from hbo_plugin.bench.torch_peers import Interleave

TINY = Plan(repeats=2, seconds=1e-4, patience=30, memory=1e9)
LIGHT: tuple[type[Contender], ...] = (WithoutReplacement, WithReplacement, NumPyTwoStep, Published)


def _quiet(_what: str) -> None:
    pass


def _made(kind: type[Contender], mixture: Mixture, window: int = 100) -> Contender:
    try:
        return kind(mixture, window)
    except ImportError as error:
        pytest.skip(f"{error.name} is not installed")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the command on mixtures of a few thousand rows and with contenders that need only NumPy."""
    monkeypatch.setattr(cli, "QUICK", TINY)
    monkeypatch.setattr(cli, "QUICK_SIZES", (2000, 20_000))
    monkeypatch.setattr(cli, "CONTENDERS", LIGHT)

    def run(*arguments: str) -> None:
        cli.bench(["--quick", *arguments], standalone_mode=False)

    return run


def test_json_on_stdout_is_one_object_and_nothing_else(
    tiny: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    tiny("--json", "-")
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"rows", "headline", "environment"}
    for row in result["rows"]:
        assert {"case", "name", "value", "unit", "spread"} <= set(row)
        assert row["unit"] in {"draws/s", "s", "MB"}
        if row["value"] is None:
            assert row["note"]
        else:
            assert row["spread"][0] <= row["value"] <= row["spread"][1]
    cases = {row["case"] for row in result["rows"]}
    assert set(result["headline"]) == {case for case in cases if "the call alone" not in case}
    where = result["environment"]
    assert where["build_profile"] == "release"
    assert where["processor"]
    assert where["cores"]
    assert where["numpy"] == np.__version__


def test_tables_and_picture(tiny: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    tiny("--json", str(tmp_path / "bench.json"), "--plot", str(tmp_path / "bench.png"))
    out = capsys.readouterr().out
    assert "hbo against the best peer of each case" in out
    assert "NumPy two-step" in out
    assert json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_a_debug_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hbo_plugin._sampler.build_profile", "debug")
    with pytest.raises(click.ClickException) as caught:
        cli.bench([], standalone_mode=False)
    assert caught.value.message == (
        "hbo_plugin._sampler is a `debug` build, whose timings say nothing; "
        "build it with `maturin develop --release`, or install the wheel."
    )


def _notes(
    make: Callable[[type[Contender]], Task], contenders: tuple[type[Contender], ...], plan: Plan = TINY
) -> dict[str, Row]:
    case = Case("test", 1000, make)
    return {row.name: row for row in measure([case, case], contenders, plan, _quiet)}


def test_a_peer_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    rows = _notes(lambda _contender: Task(int), (WithoutReplacement, Interleave))
    assert rows["hbo"].value is not None
    assert rows[Interleave.name].value is None
    assert rows[Interleave.name].note == "not installed: datasets"


def test_a_peer_that_fails_says_so_and_ours_must_not() -> None:
    def make(contender: type[Contender]) -> Task:
        if contender is guilty:
            msg = "number of categories\nand more"
            raise RuntimeError(msg)
        return Task(int)

    guilty: type[Contender] = NumPyTwoStep
    assert _notes(make, LIGHT)[NumPyTwoStep.name].note == "RuntimeError: number of categories"
    guilty = WithReplacement
    with pytest.raises(RuntimeError, match="number of categories"):
        _notes(make, LIGHT)


def test_a_peer_that_is_too_slow_or_too_large_says_so() -> None:
    def forever() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001, PERF203, S112 - as peers do
                continue

    plan = Plan(repeats=1, seconds=1e-4, patience=0.05, memory=3999)
    rows = _notes(
        lambda contender: Task(int if contender.ours else forever),
        (WithoutReplacement, NumPyTwoStep, NumPyWithoutReplacement),
        plan,
    )
    assert rows["hbo"].value is not None
    assert rows[NumPyTwoStep.name].note == "too slow: 0.05 s were not enough for a call at 1,000 rows"
    assert rows[NumPyWithoutReplacement.name].note == "needs 0.0 GB; this run gives a peer 3.999e-06 GB"


@pytest.mark.parametrize(("quick", "kept"), [(1, 0), (2, 1)])
def test_a_peer_that_becomes_too_slow_keeps_what_it_has(quick: int, kept: int) -> None:
    """Called once to be made and once for the length of a repeat; then a repeat hangs, the first or the second."""

    def make(contender: type[Contender]) -> Task:
        calls = iter(range(100))

        def run() -> None:
            while not contender.ours and next(calls) > quick:
                time.sleep(1)
            time.sleep(1e-3)

        return Task(run)

    plan = Plan(repeats=3, seconds=1e-4, patience=0.05, memory=1e9)
    row = _notes(make, (WithoutReplacement, NumPyTwoStep), plan)[NumPyTwoStep.name]
    assert (row.value is not None) == (kept > 0)
    assert row.note == (f"{kept} of 3 repeats" if kept else "too slow: not one repeat ended in time")


def test_headline_is_our_worse_mode_over_the_best_peer() -> None:
    def row(case: str, name: str, unit: Any, value: float | None, *, ours: bool = False) -> Row:
        return Row(case, name, ours, unit, value, None if value is None else (value, value))

    rows = [
        row("draws", "hbo", "draws/s", 30.0, ours=True),
        row("draws", "hbo, with replacement", "draws/s", 20.0, ours=True),
        row("draws", "slow", "draws/s", 1.0),
        row("draws", "fast", "draws/s", 2.0),
        row("time", "hbo", "s", 2.0, ours=True),
        row("time", "slow", "s", 8.0),
        row("time", "fast", "s", 1.0),
        row("time", "absent", "s", None),
        row("alone", "hbo", "s", 2.0, ours=True),
    ]
    assert report.headline(rows) == {"draws": 10.0, "time": 0.5}


@pytest.mark.parametrize("kind", [WithoutReplacement, WithReplacement])
@pytest.mark.parametrize(("batch", "window"), [(256, 1024), (4096, 1024), (512, 512)])
def test_ours_draws_the_stream(kind: type[WithoutReplacement], batch: int, window: int) -> None:
    drawn = []

    class Watched(kind):  # type: ignore[misc, valid-type]
        def draw(self, count: int) -> Any:
            drawn.append(super().draw(count))
            return drawn[-1]

    case = drawing(20_000, batch, window)
    run = case.make(Watched).run
    for _ in range(4):
        run()
    mixture = Mixture(20_000)
    sampler = MixtureSampler(mixture.sizes, mixture.sizes, seed=0, replacement=kind.replacement)
    total = 4 * (case.draws or 0)
    weights = mixture.weights(64)
    for index, position in enumerate(range(0, total, window)):
        sampler.reweight(position, weights[index % 64])
    assert {len(rows) for rows in drawn} == {batch}
    np.testing.assert_array_equal(np.concatenate(drawn), sampler.fill(0, total))


@pytest.mark.parametrize("kind", CONTENDERS, ids=lambda kind: kind.name)
def test_every_contender_follows_the_weights(kind: type[Contender]) -> None:
    mixture = Mixture(4000, datasets=2, levels=2)
    first, second = np.array([[0.1, 0.2, 0.3, 0.4], [0.55, 0.25, 0.15, 0.05]])
    contender = _made(kind, mixture)
    for weights in (first, second):
        contender.reweight(contender.form(mixture, weights))
        rows = np.concatenate([np.asarray(contender.draw(100)) for _ in range(60)])
        assert rows.min() >= 0
        assert rows.max() < mixture.rows
        share = np.bincount(np.searchsorted(mixture.offsets, rows, side="right") - 1, minlength=4) / len(rows)
        np.testing.assert_allclose(share, weights, atol=5 * np.sqrt(0.25 / len(rows)))
    batch = contender.draw_changing([contender.form(mixture, weights) for weights in (first, second)])
    assert len(batch) == 200


@pytest.mark.parametrize(
    "kind", [kind for kind in CONTENDERS if kind.state is not Contender.state], ids=lambda kind: kind.name
)
def test_a_restored_contender_goes_on(kind: type[Contender]) -> None:
    mixture = Mixture(4000, datasets=2, levels=2)
    contender = _made(kind, mixture)
    contender.live([contender.form(mixture, weights) for weights in mixture.weights(3)])
    restored = kind(mixture, 100)
    restored.restore(contender.state())
    np.testing.assert_array_equal(np.asarray(restored.draw(100)), np.asarray(contender.draw(100)))


@pytest.mark.parametrize(
    "kind", [kind for kind in CONTENDERS if kind.rows_at is not Contender.rows_at], ids=lambda kind: kind.name
)
def test_rows_at_a_position_are_those_that_were_drawn(kind: type[Contender]) -> None:
    mixture = Mixture(4000, datasets=2, levels=2)
    forms = [kind.form(mixture, weights) for weights in mixture.weights(3)]
    contender = kind(mixture, 100)
    drawn = contender.draw_changing(forms)
    np.testing.assert_array_equal(contender.rows_at(120, forms[1], 50), drawn[120:170])


def test_numpy_without_replacement_covers_each_lap() -> None:
    mixture = Mixture(1000, datasets=2, levels=2)
    contender = NumPyWithoutReplacement(mixture, 100)
    contender.reweight(mixture.sizes / mixture.rows)
    counts = np.bincount(np.concatenate([contender.draw(77) for _ in range(100)]), minlength=mixture.rows)
    for start, end in pairwise([*mixture.offsets, mixture.rows]):
        assert counts[start:end].max() - counts[start:end].min() <= 1


def test_the_named_sizes_draws_and_cells_are_all_asked() -> None:
    names = [case.name for case in sampler_cases(cli.FULL_SIZES, cli.FULL_SIZES, cli.FULL_DRAWS)]
    assert len(names) == len(set(names))
    for batch in ("256", "65,536"):
        for size in ("100,000", "1,000,000", "10,000,000", "100,000,000", "1,000,000,000"):
            assert f"draws, batch {batch}, new weights every 1,024, {size} rows" in names
    assert {f"change of weights to first row, {cells} cells, 1,000,000 rows" for cells in ("32", "4,096")} <= set(names)


def test_memory_sees_what_a_contender_stores() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("Linux only")
    plan = Plan(repeats=2, seconds=1e-4, patience=30, memory=1e9)
    rows = {
        row.name: row for row in memory.memory([10**7], (WithoutReplacement, NumPyWithoutReplacement), plan, _quiet)
    }
    ours, stored = rows["hbo"].value, rows[NumPyWithoutReplacement.name].value
    assert ours is not None
    assert stored is not None
    assert ours < 50
    assert 35 < stored < 120  # 40 MB of int32


def test_packing_is_reported_in_the_same_form(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(packing_data.SETS, "documents")
    monkeypatch.setitem(packing_data.SETS, "instructions", LengthSet(lambda: iter(range(1, 300)), 128))
    cli.bench(["packing", "--quick", "--json", "-"], standalone_mode=False)
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"rows", "headline", "environment"}
    units = {(row["case"].split(",")[0], row["unit"]) for row in result["rows"]}
    assert units == {("efficiency", "share"), ("speed", "rows/s"), ("delay of a row", "batches"), ("first batch", "s")}
    for row in result["rows"]:
        if row["value"] is None:
            assert "not installed" in row["note"]
        elif row["unit"] == "share":
            assert 0.9 < row["value"] <= 1


def test_a_peer_cannot_drop_the_limit() -> None:
    """What is raised in a finalizer is dropped by Python, and an alarm that rang there once would be lost."""

    class Slow:
        def __del__(self) -> None:
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                pass

    def peer() -> None:
        slow = Slow()
        del slow
        while True:
            pass

    with pytest.raises(UnableError, match=r"too slow: 0\.1 s were not enough"), limit(0.1, 5):
        peer()
