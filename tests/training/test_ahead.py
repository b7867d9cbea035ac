"""Steps ahead: what a loader and its workers may take early, and that where new weights take force does not depend on it."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from resume import assert_resumes
from runs import lines, read_trace

from hbo_plugin.training.ahead import AHEAD_OF_WORKERS, StepsAhead, loader_workers


@given(st.integers(0, 64), st.integers(1, 32))
def test_workers_hold_no_more_than_the_steps_that_are_ahead(wanted: int, accumulation: int) -> None:
    found = loader_workers(wanted, accumulation)
    workers, each = found["dataloader_num_workers"], found["dataloader_prefetch_factor"]
    assert (workers == 0) == (wanted == 0) == (each is None)
    if workers and each:
        assert workers <= wanted
        # A step was made, and accelerate holds the first batch of the next one.
        assert workers * each + 1 <= AHEAD_OF_WORKERS * accumulation


@given(st.integers(1, 3), st.integers(0, 12), st.lists(st.integers(0, 3), max_size=20))
def test_what_is_drawn_does_not_depend_on_what_is_taken(ahead: int, count: int, takes: list[int]) -> None:
    """A loader takes some steps, at least the one that is made, and at most those that are ahead of it."""
    numbers = iter(range(count))
    drawn = 0

    def draw() -> int | None:
        nonlocal drawn
        number = next(numbers, None)
        drawn += number is not None
        return number

    steps = StepsAhead(draw, ahead)
    taken, loader = deque[int](), iter(steps)
    for made, more in enumerate(takes[:count]):
        while len(taken) < min(1 + more, ahead) and (step := next(loader, None)) is not None:
            taken.append(step)
        assert steps.oldest == steps.finish() == taken.popleft() == made
        assert drawn == min(made + 1 + ahead, count)


@pytest.mark.axolotl
@pytest.mark.parametrize("packed", [False, True])
def test_a_run_with_workers_goes_on_as_it_was(
    make_config: Any, monkeypatch: pytest.MonkeyPatch, *, packed: bool
) -> None:
    """Killed between two changes of weights, of which the second takes force two steps later."""
    packing = {"sample_packing": True, "eval_sample_packing": False, "sequence_len": 256, "pad_to_sequence_len": True}
    config = make_config(
        hbo={"update_every": 2, "levels": 2, "record_rows": True},
        dataloader_num_workers=2,
        gradient_accumulation_steps=2,
        num_epochs=9,
        max_steps=10,
        save_steps=4,
        **(packing if packed else {}),
    )
    folder = assert_resumes(config, monkeypatch, crash_at=5)
    updates = [record for record in read_trace(folder) if record["event"] == "update"]
    assert len(updates) == 4
    if not packed:
        rows = [len(record["rows"]) for record in lines(folder / "hbo_rows.jsonl")]
        for record in updates:
            assert record["head"] == sum(rows[: record["step"] + AHEAD_OF_WORKERS])
