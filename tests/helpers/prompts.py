"""Small datasets of prompts, and configurations of GRPO that train on them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Config = dict[str, Any]
SIZES = {"a": 60, "b": 44, "c": 30}


def of_prompts(config: Config, folder: Path, rl: str = "grpo", **trl: Any) -> Config:
    """A configuration of GRPO on three datasets.

    The rows of `a` are messages, those of the others questions that become some. `answer` says how many of ten answers are
    right, from 0 to 10 along the dataset; those of `b` alone have a `bonus`.
    """
    datasets = []
    for shift, (name, count) in enumerate(SIZES.items()):
        path = folder / rl / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {**_asked(name, f"Add {shift} and {i}."), "answer": 11 * i // count, "source": f"{name}{i % 2}"}
            | ({"bonus": 0.5} if name == "b" else {})
            for i in range(count)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        entry = {} if name == "a" else {"type": "rewards.chat"}
        datasets.append({"path": str(path), "ds_type": "json", **entry})
    options = {
        "num_generations": 4,
        "max_completion_length": 6,
        "reward_funcs": ["rewards.by_chance", "rewards.by_length"],
    }
    return {**config, "rl": rl, "trl": {"beta": 0.0, **options, **trl}, "datasets": datasets}


def _asked(name: str, question: str) -> Config:
    return {"prompt": [{"role": "user", "content": question}]} if name == "a" else {"question": question}
