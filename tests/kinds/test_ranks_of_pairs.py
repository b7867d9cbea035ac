"""Two ranks that train on pairs: together they train on the rows of one process."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from collated import FILE
from launch import start
from pairs import of_kind
from runs import lines, train

pytestmark = pytest.mark.axolotl


def test_two_ranks_are_one_run(make_config: Any, tmp_path: Path) -> None:
    hbo = {"weights": {"a": 50, "b": 30, "c": 20}, "levels": 2, "record_rows": True}
    config = of_kind(make_config(hbo=hbo, max_steps=6, save_steps=6), "dpo", tmp_path)
    config["plugins"] += ["collated.CollatedPlugin", "cpu_ranks.CPURanksPlugin"]
    alone = train({**config, "micro_batch_size": 4, "output_dir": str(tmp_path / "alone")})
    together = Path(config["output_dir"])
    done = start(config, 2)
    assert done.returncode == 0, done.stderr[-2000:]
    recorded = lines(alone / "hbo_rows.jsonl")
    assert lines(together / "hbo_rows.jsonl") == recorded
    rows = [row for record in recorded for row in record["rows"]]
    assert len(rows) == 6 * 8
    batches = [lines(together / FILE.format(rank=rank)) for rank in range(2)]
    whole = lines(alone / FILE.format(rank=0))
    # Of each step, the ranks take micro-batches of two in turn; what was loaded ahead of the end is left out.
    taken = [batch for turn in zip(*(chunks(each) for each in batches), strict=False) for batch in turn]
    assert [text for batch in taken for text in batch][: len(rows)] == whole[: len(rows)]
    assert Counter(map(len, taken)) == {2: len(taken)}


def chunks(texts: list[Any]) -> list[list[Any]]:
    return [texts[first : first + 2] for first in range(0, len(texts), 2)]
