"""Two ranks under GRPO: together they are given the prompts of one process, and both see all rewards."""

from pathlib import Path
from typing import Any

import pytest
from collated import FILE
from launch import start
from prompts import of_prompts
from runs import history, lines, train

pytestmark = pytest.mark.axolotl


def test_two_ranks_are_one_run(make_config: Any, tmp_path: Path) -> None:
    hbo = {"method": "frontier", "levels": 2, "difficulty": "answer", "update_every": 3, "record_rows": True}
    config = of_prompts(make_config(hbo=hbo, max_steps=6, save_steps=6), tmp_path)
    config["plugins"] += ["collated.CollatedPlugin", "cpu_ranks.CPURanksPlugin"]
    alone = train({**config, "micro_batch_size": 8, "output_dir": str(tmp_path / "alone")})
    together = Path(config["output_dir"])
    done = start({**config, "micro_batch_size": 4}, 2)
    assert done.returncode == 0, done.stderr[-2000:]
    # Until weights follow from what each rank generated for itself.
    first = [lines(folder / "hbo_rows.jsonl")[:3] for folder in (alone, together)]
    assert first[0] == first[1]
    batches = [lines(together / FILE.format(rank=rank)) for rank in range(2)]
    whole = lines(alone / FILE.format(rank=0))
    # The ranks take parts of a generation batch, of 8 answers, in turn.
    taken = [batch for turn in zip(*(parts(each) for each in batches), strict=False) for batch in turn]
    assert [text for batch in taken for text in batch][: 3 * 2 * 16] == whole[: 3 * 2 * 16]
    share = history(together, "frac_reward_zero_std")
    of_datasets = [history(together, f"hbo/no_variance/{name}") for name in ("a", "b", "c")]
    for step, wanted in share.items():
        told = [found[step] for found in of_datasets if step in found]
        assert min(told) <= wanted <= max(told)


def parts(texts: list[Any]) -> list[list[Any]]:
    return [texts[first : first + 8] for first in range(0, len(texts), 8)]
