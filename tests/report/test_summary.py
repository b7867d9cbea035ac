"""The numbers of a report, against a calculation by hand."""

from pathlib import Path

from traces import evaluation, state, write

from hbo_plugin.history import Stop
from hbo_plugin.report.summary import Change, DatasetSummary, Summary, summarise
from hbo_plugin.trace import TRACE_FILE, Trace

START = state(0, "start", {"sums": [0.25, 0.25], "words": [0.5, 0.0]})
UPDATE = state(10, "update", {"sums": [0.3125, 0.5], "words": [0.1875, 0.0]}) | {
    "rows": {"sums": [10, 30], "words": [20, 0]},
    "rows_trained": {"sums": [20, 40], "words": [40, 0]},
    "tokens": {"sums": [100, 100], "words": [50, 0]},
    "capped": {"sums": [False, False], "words": [True, False]},
}


def summary(folder: Path, *records: dict[str, object]) -> Summary:
    return summarise(Trace(write(folder, *records) / TRACE_FILE).history())


def test_a_run_is_summarised_first_against_last(tmp_path: Path) -> None:
    found = summary(tmp_path, START, evaluation(0, sums=2.0), evaluation(5, sums=float("nan")), UPDATE)
    assert found == Summary(
        step=10,
        ended=False,
        rows_trained=100,
        tokens_trained=250,
        target_loss=Change(2.0, None),
        datasets=(
            DatasetSummary(
                name="sums",
                rows=40,
                weight=Change(0.5, 0.8125),
                levels=(Change(0.5, 0.3125 / 0.8125), Change(0.5, 0.5 / 0.8125)),
                row_share=0.6,
                token_share=0.8,
                epochs=1.5,
                capped=False,
                held_out_loss=Change(2.0, None),
                stopped=None,
            ),
            DatasetSummary(
                name="words",
                rows=20,
                weight=Change(0.5, 0.1875),
                levels=(Change(1.0, 1.0), Change(0.0, 0.0)),
                row_share=0.4,
                token_share=0.2,
                epochs=2.0,
                capped=True,
                held_out_loss=None,
                stopped=None,
            ),
        ),
    )


def test_a_held_out_set_counts_for_the_dataset_that_it_is_tied_to(tmp_path: Path) -> None:
    tied = {"sums": "checked"}
    found = summary(tmp_path, START, evaluation(0, tied, checked=2.0, words=9.0), evaluation(5, tied, checked=1.0))
    assert [dataset.held_out_loss for dataset in found.datasets] == [Change(2.0, 1.0), None]


def test_a_run_that_has_just_begun_has_trained_on_nothing(tmp_path: Path) -> None:
    found = summary(tmp_path, START)
    assert (found.step, found.ended, found.rows_trained) == (0, False, 0)
    assert [dataset.row_share for dataset in found.datasets] == [0, 0]
    assert found.datasets[0].weight == Change(0.5, 0.5)


def test_a_dataset_that_was_stopped_says_when(tmp_path: Path) -> None:
    stop = {"step": 10, "lowest": 1.5, "lowest_step": 6, "loss": 2.0}
    found = summary(tmp_path, START, UPDATE | {"stopped": {"words": stop}}, UPDATE | {"step": 20})
    assert [dataset.stopped for dataset in found.datasets] == [None, Stop(10, lowest=1.5, lowest_step=6, loss=2.0)]
