"""Notes: what a user should know about the rows of a dataset, a sentence each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin.data.named_rows import NamedRows
from hbo_plugin.messages import listed


def notes_on_duplicates(cfg: Mapping[str, Any]) -> list[str]:
    """What becomes of rows that stand there twice."""
    if cfg.get("dataset_exact_deduplication") and len(cfg["datasets"]) > 1:
        return ["duplicate rows were removed inside each dataset; a row that stands in two datasets stays in both"]
    return []


def notes_on_watching(watched: Sequence[str], every: int) -> list[str]:
    """What `max_epochs: auto` costs."""
    if not watched:
        return []
    what = f"the held-out loss of {listed(watched)} every {every:,} steps, in a forward pass over half of the held-out rows"
    return [f"`max_epochs: auto` measures {what}"]


def notes_on_rows(dataset: NamedRows, scores: NDArray[np.float64], kind: str, *, asked: int, cut: int) -> list[str]:
    """What a user should know about a dataset.

    Args:
        dataset: prepared and scored.
        scores: of its rows to train on, float64.
        kind: of difficulty.
        asked: how many levels it was to have.
        cut: how many it has.
    """
    notes = []
    name, count = dataset.name, len(dataset.own)
    if count < dataset.raw_rows:
        notes.append(
            f"dataset `{name}`: Axolotl dropped {dataset.raw_rows - count} of {dataset.raw_rows} rows, which are longer than "
            f"`sequence_len`, empty, doubled, or without a token to train on"
        )
    elif count > dataset.raw_rows:
        notes.append(f"dataset `{name}`: Axolotl split {dataset.raw_rows} rows into {count}")
    if without := int((dataset.trained == 0).sum()):
        notes.append(
            f"dataset `{name}`: {without} of {count} rows have no token to train on, because every label is masked"
        )
    if missing := int(np.isnan(scores).sum()):
        notes.append(f"dataset `{name}`: {missing} of {len(scores)} rows have no difficulty score and get the median")
    if kind == "ifd" and (bare := int((dataset.trained == dataset.prepared.lengths[dataset.own] - 1).sum())):
        notes.append(
            f"dataset `{name}`: {bare} of {count} rows have no prompt, so `difficulty: ifd` compares their text with itself and "
            f"says nothing about how hard they are; set `difficulty: loss`"
        )
    if cut < asked:
        notes.append(f"dataset `{name}` has {cut} instead of {asked} levels, because it has {cut} rows to train on")
    return notes
