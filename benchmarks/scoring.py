"""How fast a model scores the difficulty of rows, beside its decoder alone on the same batches."""

from __future__ import annotations

import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.made_files import FIRST_WORD, save_model
from hbo_plugin.bench.measure import Row
from hbo_plugin.bench.report import publish
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

DECODER, SCORING = "the decoder alone", "hbo, `difficulty: loss`"
LAST = 256
"""Tokens of the longest row; half of each row is its prompt."""
SHAPES = {
    "12 layers, 2,000 tokens": {
        "vocab_size": 2000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12,
        "num_attention_heads": 8,
    },
    "SmolLM2-135M, 49,152 tokens": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Models, at random: what is measured does not depend on their weights."""


def _made(shape: dict[str, Any]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**shape))


def measured(case: str, model: Any, folder: Path, count: int, repeats: int, *, longest: int = LAST) -> Iterator[Row]:
    """One row for each of the two, on the card where there is one.

    Args:
        case: its name.
        model: that scores.
        folder: for all that is read and written.
        count: rows that are scored.
        repeats: passes of each kind that are timed.
        longest: tokens of a row at most; half of each is its prompt.
    """
    import torch
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset
    from transformers import AutoTokenizer

    from hbo_plugin.data import rows as tokenised
    from hbo_plugin.data.difficulty import Scorer
    from hbo_plugin.data.files import FileDigests
    from hbo_plugin.data.prepared import Prepared
    from hbo_plugin.devices import settle
    from hbo_plugin.signals.padding import by_length, fetch, pad

    folder.mkdir(parents=True)
    save_model(folder / "model", model)
    vocabulary = model.config.vocab_size
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    ids = [rng.integers(FIRST_WORD, vocabulary, n).tolist() for n in rng.integers(longest // 4, longest, count)]
    labels = [[-100] * (len(row) // 2) + row[len(row) // 2 :] for row in ids]
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids], "labels": labels})
    data.save_to_disk(folder / "rows")
    files = tuple((folder / "rows").glob("*.arrow"))
    part = Prepared(files, tokenised.lengths(data), tokenised.trained(data), tokenised.digest(data), count)
    card = torch.cuda.is_available()
    settings = {"base_model": str(folder / "model"), "micro_batch_size": 4, "sequence_len": longest, "bf16": card}
    cache = folder / "scores"
    scorer = Scorer("loss", DictDefault(settings), tokenizer, FileDigests(folder / "digests.json"), cache)
    device, dtype = ("cuda", torch.bfloat16) if card else ("cpu", torch.float32)
    decoder = model.to(device, dtype).eval().get_decoder()
    batches = [pad(fetch(part.rows, batch)) for batch in by_length(part.lengths, 4 * longest)]

    def score() -> None:
        for file in cache.glob("*.npy"):
            file.unlink()
        scorer.score(part, case)

    @torch.no_grad()
    def decode() -> None:
        for batch in batches:
            ids, mask = (batch[name].to(device) for name in ("input_ids", "attention_mask"))
            decoder(input_ids=ids, attention_mask=mask, use_cache=False)
        settle()

    tasks = {DECODER: decode, SCORING: score}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for repeat in range(repeats + 1):
        for name, task in tasks.items():
            begun = time.perf_counter(), time.process_time()
            task()
            if repeat:  # the first loads the model, and warms up
                times[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    tokens = int(part.lengths.sum())
    for name, found in times.items():
        passed, processor = zip(*found, strict=True)
        note = f"{tokens / median(passed):,.0f} tokens a second"
        spread = (min(passed), max(passed))
        yield Row(
            case,
            name,
            ours=name == SCORING,
            unit="s",
            value=median(passed),
            spread=spread,
            cpu=median(processor),
            note=note,
        )


@click.command()
@click.option("--rows", default=64, show_default=True, help="Rows that are scored.")
@click.option("--repeats", default=5, show_default=True, help="Passes of each kind that are timed.")
@json_option
def scoring(*, rows: int, repeats: int, json_to: Path | None) -> None:
    """Measure the scoring of rows against a pass of the model's decoder over the same batches, without its head."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        found = [
            row
            for number, (case, shape) in enumerate(SHAPES.items())
            for row in measured(case, _made(shape), Path(folder) / str(number), rows, repeats)
        ]
    # By time of the processor, which other work on the machine does not lengthen much.
    pairs = zip(found[::2], found[1::2], strict=True)
    shares = {ours.case: alone.cpu / ours.cpu for alone, ours in pairs if alone.cpu and ours.cpu}
    publish(found, json_to, ratios=("Speed of scoring as a share of the decoder's, by CPU time", shares))
