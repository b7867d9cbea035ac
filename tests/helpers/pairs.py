"""Small datasets for each kind of training beside supervised fine-tuning, and configurations that train on them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Config = dict[str, Any]
SIZES = {"a": 60, "b": 44, "c": 30}

_WORDS = ["red", "green", "blue", "stone", "river", "cloud"]


def _answers(i: int, shift: int) -> tuple[str, str, str]:
    """A question, a right answer and a wrong one; answers have unequal lengths, and no two questions are alike."""
    words = " ".join(_WORDS[(i * k + shift) % 6] for k in range(1 + i % 5))
    return f"Add {shift} and {i}.", f"{i + shift} {words}", f"{i + shift + 1} {words}"


def _texts(i: int, shift: int) -> Config:
    return dict(zip(("prompt", "chosen", "rejected"), _answers(i, shift), strict=True))


def _messages(i: int, shift: int) -> Config:
    """For `chat_template.default`, which takes the column away that it reads."""
    asked, good, bad = _answers(i, shift)
    said = {name: {"role": "assistant", "content": text} for name, text in (("chosen", good), ("rejected", bad))}
    return {"messages": [{"role": "user", "content": asked}], **said}


def _chats(i: int, shift: int) -> Config:
    return {"system": "", **dict(zip(("input", "chosen", "rejected"), _answers(i, shift), strict=True))}


def _steps(i: int, shift: int) -> Config:
    asked, *completions = _answers(i, shift)
    return {"prompt": asked, "completions": completions, "labels": [True, False]}


MADE: dict[str, tuple[Config, Config, Callable[[int, int], Config]]] = {
    "dpo": ({"rl": "dpo"}, {"type": "chat_template.default"}, _messages),
    "ipo": ({"rl": "ipo"}, {}, _texts),
    "orpo": ({"rl": "orpo"}, {}, _texts),
    "simpo": ({"rl": "simpo", "rl_beta": 2.0, "simpo_gamma": 0.5}, {}, _texts),
    "reward_model": ({"reward_model": True}, {"type": "bradley_terry.chat_template"}, _chats),
    "process_reward_model": ({"process_reward_model": True}, {"type": "stepwise_supervised"}, _steps),
}
"""For each kind, the options that ask for it, what an entry of `datasets:` says, and what makes a row of it."""

FOLLOWED: Config = {"method": "hbo", "reward": {"global": "pair_loss", "local": "margin"}}
"""A method that adapts where pairs are compared, whose two signals it takes."""


def of_kind(config: Config, kind: str, folder: Path, sizes: dict[str, int] = SIZES) -> Config:
    """A configuration as one of another kind, on datasets of these sizes.

    Beside what is trained on, a row has its number as `hardness`, from the last to the first, and a `source` of two.
    """
    options, entry, row = MADE[kind]
    datasets = []
    for shift, (name, count) in enumerate(sizes.items()):
        path = folder / kind / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{**row(i, shift), "hardness": -i, "source": f"{name}{i % 3 == 0:d}"} for i in range(count)]
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
        datasets.append({"path": str(path), "ds_type": "json", **entry})
    return {**config, **options, "datasets": datasets}
