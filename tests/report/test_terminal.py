"""What a terminal shows: 80 columns, and every name as it is written."""

import io
import sys
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from hbo_plugin.history import Stop
from hbo_plugin.report import terminal
from hbo_plugin.report.banner import Banner, BannerDataset
from hbo_plugin.report.summary import Change, DatasetSummary, Summary

NAMES = [
    "sums",
    "[red]not red[/red]",
    "[/]",
    "[link=x]",
    ":smile:",
    "🙂🙂",
    "数学推理数据集" * 5,
    "https://example.org/" + "a-long-path/" * 12,
    "with spaces " * 9,
    "a\nb\tc\x1b[31m",
]


def dataset(name: str, levels: int = 4) -> DatasetSummary:
    """Numbers as wide as they come."""
    change = Change(1.0, 1.0)
    return DatasetSummary(
        name,
        10**8,
        change,
        (change,) * levels,
        1.0,
        1.0,
        99.99,
        capped=False,
        held_out_loss=Change(12.345, None),
        stopped=None,
    )


def shown(content: Any, capsys: pytest.CaptureFixture[str]) -> str:
    terminal.show(content)
    return capsys.readouterr().out


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [1, 4, 10, 40])
def test_a_summary_fits_80_columns_and_shows_names_as_they_are(
    name: str, levels: int, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Summary(
        10**6,
        ended=False,
        rows_trained=10**9,
        tokens_trained=10**12,
        target_loss=None,
        datasets=(dataset(name, levels),),
    )
    lines = shown(terminal.summary(found), capsys).splitlines()
    assert max(map(cell_len, lines)) <= 80
    row = lines.index(next(line for line in lines if "100,000,000" in line))
    name_column = lines[row:][: lines[row:].index("")]
    first = name_column[0]
    assert "100.0% → 100.0%" in first
    assert first.rstrip().endswith("99.99   12.345 → nan")
    width = cell_len(first[: first.index("100,000,000")])
    assert "\x1b" not in "".join(lines)
    written = repr(name)[1:-1] if "\x1b" in name else name
    assert squeezed("".join(cut(line, width) for line in name_column)) == squeezed(written)


def cut(line: str, width: int) -> str:
    """The first columns of a line."""
    while cell_len(line) > width:
        line = line[:-1]
    return line


def test_the_summary_says_what_was_stopped_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = replace(dataset("sums", 1), stopped=Stop(1200, lowest=1.25, lowest_step=800, loss=1.5))
    found = Summary(2000, True, 1, 1, None, (stopped, dataset("words", 1)))  # noqa: FBT003 it ended
    assert (
        "`max_epochs: auto` stopped `sums` at step 1,200: its held-out loss rose from 1.250 at step 800 to 1.500."
        in (" ".join(shown(terminal.summary(found), capsys).split()))
    )


def test_the_summary_says_whose_weight_the_cap_lowers(capsys: pytest.CaptureFixture[str]) -> None:
    for capped in (True, False):
        found = Summary(
            1,
            ended=True,
            rows_trained=1,
            tokens_trained=1,
            target_loss=None,
            datasets=(replace(dataset("sums", 2), capped=capped),),
        )
        assert ("`max_epochs` lowers the weight of `sums`." in shown(terminal.summary(found), capsys)) == capped


def test_a_run_that_has_not_ended_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    for ended in (True, False):
        found = Summary(
            1200, ended=ended, rows_trained=9, tokens_trained=9, target_loss=None, datasets=(dataset("sums"),)
        )
        text = shown(terminal.summary(found), capsys)
        note = "This run has not ended: it still trains, or it was stopped. Its trace reaches step 1,200."
        assert (squeezed(note) in squeezed(text)) != ended


def test_levels_and_losses_are_shown_where_there_are_any(capsys: pytest.CaptureFixture[str]) -> None:
    plain = DatasetSummary(
        "sums", 5, Change(1, 1), (Change(1, 1),), 1, 1, 1, capped=False, held_out_loss=None, stopped=None
    )
    text = shown(terminal.summary(Summary(1, True, 9, 9, None, (plain,))), capsys)  # noqa: FBT003
    assert "held-out" not in text
    assert "levels" not in text
    mixed = Summary(1, True, 9, 9, Change(2.5, 1.5), (plain, dataset("words")))  # noqa: FBT003
    text = shown(terminal.summary(mixed), capsys)
    assert "held-out loss" in text
    assert "Held-out loss of the target: 2.500 → 1.500" in text
    assert "100% 100% 100% 100% → 100% 100% 100% 100%" in text


def test_an_encoding_that_lacks_a_character_costs_that_character(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    terminal.show("27% → 28%")
    assert raw.getvalue() == b"27% ? 28%\n"


def banner(*datasets: BannerDataset, **changes: Any) -> Banner:
    shape = {
        "method": "hbo",
        "levels": 4,
        "difficulty": "length",
        "unit": "row",
        "signals": {"the training batches": ("loss",), "probes": ("perplexity_ratio", "gradient_norm")},
        "moments": "Every 100 steps",
        "step": 0,
        "steps": 1200,
    }
    return Banner(datasets=datasets, **{**shape, **changes})


SUMS = BannerDataset("sums", 1000, 980, 63.4, 0.8, 0.75, 20)
WORDS = BannerDataset("words", None, 40, 1234.5, 0.25, 0.25, 0)


def test_the_banner_begins_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    note = "20 rows of `sums` were dropped: they are longer than `sequence_len: 128`"
    lines = shown(banner(SUMS, WORDS, batch="batches of 4 x 2,048 tokens", notes=[note]), capsys).splitlines()
    assert [line.rstrip() for line in lines] == [
        "",
        "The mixture by the method hbo, 4 levels a dataset by length",
        "dataset          rows  tokens a row         weight  held-out rows",
        "─────────────────────────────────────────────────────────────────",
        "sums      1,000 → 980            63  80.0% → 75.0%             20",
        "words              40         1,234          25.0%              0",
        "Trains for 1,200 steps.",
        "Weights are shares of rows. Every 100 steps they follow loss from the training",
        "batches and perplexity_ratio, gradient_norm from probes.",
        "Rows are packed into batches of 4 x 2,048 tokens.",
        "Note: 20 rows of `sums` were dropped: they are longer than `sequence_len: 128`",
        "",
    ]


def test_the_banner_says_what_weighs_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    words = "the column `quality`, divided by its mean over each step"
    lines = shown(banner(SUMS, row_weights=words), capsys).splitlines()
    assert [line.rstrip() for line in lines].count(f"Row weights: {words}.") == 1
    assert "Row weights" not in shown(banner(SUMS), capsys)


def test_the_banner_says_where_a_run_resumes(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(banner(SUMS, step=40), capsys)
    assert "Resumes at step 40 of 1,200." in text
    assert "Trains for" not in text


def test_the_banner_of_fixed_weights(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(banner(SUMS, levels=1, unit="token", signals={"probes": ()}), capsys)
    assert "Weights are shares of tokens, and they are fixed." in text
    assert "levels" not in text


@pytest.mark.parametrize("name", NAMES)
def test_the_banner_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    widest = BannerDataset(name, 10**8 + 1, 10**8, 10**5, 1.0, 1.0, 10**6)
    lines = shown(banner(widest, notes=[f"`{name}` is a name"]), capsys).splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert squeezed("100,000,001 → 100,000,000 100,000 100.0% 1,000,000") in squeezed("".join(lines))
