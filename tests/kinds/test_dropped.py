"""Rows that a trainer drops when it tokenises them: counted and named, never shifted."""

from __future__ import annotations

import json
import reprlib
import shutil
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("axolotl")

from pairs import of_kind
from runs import train
from tokenizers import Tokenizer, processors

from hbo_plugin.cells import Cells
from hbo_plugin.data.dropped import refuse_dropped

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.axolotl
LENGTH = 48


def opened(model: Path, folder: Path) -> tuple[Path, Tokenizer]:
    """A copy of a model whose tokenizer opens each text with a token of its own, which Axolotl does not count."""
    copy = shutil.copytree(model, folder / "model")
    tokenizer = Tokenizer.from_file(str(copy / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(copy / "tokenizer.json"))
    return copy, tokenizer


def test_a_run_whose_trainer_drops_rows_is_refused(make_config: Any, tiny_model: Path, tmp_path: Path) -> None:
    model, tokenizer = opened(tiny_model, tmp_path)
    config = of_kind(make_config(base_model=str(model), sequence_len=LENGTH), "ipo", tmp_path)
    config["hbo"] = {"weights": {"a": 1, "b": 1, "c": 1}}
    prompt = "x" * LENGTH
    while len(tokenizer.encode(prompt, add_special_tokens=False)) > LENGTH - 1:
        prompt = prompt[:-1]
    while len(tokenizer.encode(prompt, add_special_tokens=False)) < LENGTH - 1:
        prompt += "x"
    with open(config["datasets"][1]["path"], "a") as file:  # noqa: PTH123 a text
        file.write(json.dumps({"prompt": prompt, "chosen": "y", "rejected": "z"}) + "\n")
        file.write(json.dumps({"prompt": prompt, "chosen": "y", "rejected": "w"}) + "\n")
    with pytest.raises(ValueError, match="the trainer drops") as error:
        train(config)
    assert str(error.value) == (
        f"the trainer drops 2 of the 46 rows of dataset `b` when it tokenises them, as they fill `sequence_len` before their "
        f"answers begin; the first has the `prompt` {reprlib.repr(prompt)}. Remove them, or raise `sequence_len`."
    )


@given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=30), st.sets(st.sampled_from("abcd"), max_size=3))
def test_dropped_rows_are_counted_in_their_dataset(prompts: list[str], dropped: set[str]) -> None:
    sizes = np.array([[1], [len(prompts) - 2], [1]])
    counts = np.ones(len(prompts), np.int32)
    cells = Cells(("first", "middle", "last"), sizes, counts, counts, ("", "", ""))
    data: Any = SimpleNamespace(train=Dataset.from_dict({"prompt": prompts}), cells=cells)
    found = Dataset.from_dict({"prompt": [prompt for prompt in prompts if prompt not in dropped]})
    parts = {"first": prompts[:1], "middle": prompts[1:-1], "last": prompts[-1:]}
    wanted = {name: sum(map(Counter(part).get, dropped & {*part})) for name, part in parts.items()}  # type: ignore[arg-type]
    told = ""
    try:
        refuse_dropped(data, found)
    except ValueError as error:
        told = str(error)
    lines = [
        f"drops {count} of the {len(parts[name])} rows of dataset `{name}`" for name, count in wanted.items() if count
    ]
    assert told.count("the trainer drops") == len(lines)
    assert all(line in told for line in lines)
