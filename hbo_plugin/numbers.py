"""Numbers: how the number of a raw row stays with what Axolotl makes of the row, and how a row that fails is named."""

from collections.abc import Iterator
from typing import Any

RAW_ROW = "hbo_raw_row"
"""The column with the number of the raw row that a row was made of."""


class RowError(Exception):
    """A row of the user's data that cannot be used; the message says which and why."""


class KeepNumber:
    """A tokenising strategy that hands the number of a raw row on to what is made of it."""

    def __init__(self, strategy: Any) -> None:
        """Tokenise with this strategy."""
        self._strategy = strategy

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # nothing is there yet while unpickling
            raise AttributeError(name)
        return getattr(self._strategy, name)

    def tokenize_prompt(self, prompt: Any) -> Any:
        """The rows that a raw row, or a batch of them, becomes."""
        number = prompt[RAW_ROW]
        prompt = {key: value for key, value in prompt.items() if key != RAW_ROW}
        if not self._strategy.supports_batched:
            made = self._strategy.tokenize_prompt(prompt)
            return {**made, RAW_ROW: number} if made else made
        # One row at a time, because a batched strategy may make several rows out of one, or none.
        result: dict[str, Any] = {RAW_ROW: []}
        for index, row in enumerate(number):
            made = self._strategy.tokenize_prompt({key: [column[index]] for key, column in prompt.items()})
            for key, column in made.items():
                result.setdefault(key, []).extend(column)
            result[RAW_ROW] += [row] * len(made.get("input_ids", ()))
        return result


class Unnumbered:
    """Rows that are alike where they differ in their numbers alone."""

    def __init__(self, dataset: Any) -> None:
        """`dataset` has numbers, or none."""
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    def __iter__(self) -> Iterator[Any]:
        numbers = {RAW_ROW}.intersection(self._dataset.column_names)
        return iter(self._dataset.remove_columns([*numbers]))


def failing_row(strategy: Any, dataset: Any) -> RowError | None:
    """The first row that a strategy fails on, found by going through them one at a time."""
    for row in dataset:
        prompt = {key: [value] for key, value in row.items()} if strategy.supports_batched else row
        try:
            strategy.tokenize_prompt(prompt)
        except Exception as error:  # noqa: BLE001 whatever it is, the user must know the row
            empty = " and ".join(f"`{key}`" for key, value in row.items() if value in (None, [], {}, ""))
            why = f", whose {empty} is empty," if empty else ""
            reason = f"{type(error).__name__}: {error}"
            return RowError(f"row {row[RAW_ROW] + 1}{why} cannot be tokenised ({reason}); correct or remove it")
    return None
