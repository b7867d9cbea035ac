"""Rewards and a format for tests of GRPO: what Axolotl imports by name."""

from typing import Any


def by_chance(completions: list[Any], answer: list[int], **_: Any) -> list[float]:
    """1 for so many answers of ten as the row says, by their letters."""
    return [float(_total(text) % 10 < wanted) for text, wanted in zip(completions, answer, strict=True)]


def by_length(completions: list[Any], bonus: list[float | None], **_: Any) -> list[float | None]:
    """A little for each letter; None where the row has no `bonus`."""
    return [None if each is None else each * (_total(text) % 7) for text, each in zip(completions, bonus, strict=True)]


def chat(*_: Any, **__: Any) -> Any:
    """A format of a user's, which makes messages of a question."""
    return lambda row: {"prompt": [{"role": "user", "content": row["question"]}]}


def _total(completion: Any) -> int:
    text = completion if isinstance(completion, str) else completion[0]["content"]
    return sum(map(ord, text))
