"""What moving levels brings under GRPO: two made tasks of graded difficulty, against levels that stay at their rows."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import yaml
from rich.table import Table

from benchmarks.kept_runs import all_runs, earlier_option, out_option, tell
from hbo_plugin.bench.report import environment, wide_console
from hbo_plugin.outputs import json_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TASKS: dict[str, Callable[[str], str]] = {
    "reverse": lambda text: text[::-1],
    "sort": lambda text: "".join(sorted(text)),
}
"""What is asked of some letters."""
LETTERS = "abcdefghij"
LONGEST = 8
"""Letters of the hardest prompts; the easiest have one."""
ROWS, HELD_OUT = 800, 160
"""Prompts of each task."""
PRETRAINED = 200
"""Supervised steps on both tasks before: the model then solves short prompts, and no long ones."""
STEPS = 200
PROMPTS, ANSWERS = 16, 8
"""Prompts of a step, and answers to each."""
STATIC = "static"
ARMS: dict[str, dict[str, Any]] = {
    STATIC: {"method": "static", "prior": "uniform"},
    "frontier": {"method": "frontier", "prior": "uniform"},
    "hbo": {"method": "hbo", "prior": "uniform", "reward": {"global": "advantage", "local": "reward_variance"}},
}
"""Their `hbo:` block, by the name in the table."""


def is_right(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """The reward: 1 for the answer, and nothing else."""
    return [float(text == wanted) for text, wanted in zip(completions, answer, strict=True)]


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        arm: how levels moved.
        seed: of the rows, of the model and of the stream.
        before: the held-out pass rate of each task before the first step.
        after: the same after the last.
        no_variance: share of the prompts whose answers were all alike, mean over the steps.
        environment: versions and the machine.
    """

    arm: str
    seed: int
    before: dict[str, float]
    after: dict[str, float]
    no_variance: float
    environment: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What an arm came to over its seeds; differences are from `static` with the same seed, with their standard errors.

    Attributes:
        arm: name.
        seeds: how many.
        before: mean held-out pass rate before the first step.
        after: the same after the last.
        difference: of that.
        error: of that difference; None of one seed.
        better: in how many seeds the pass rate is higher.
        no_variance: mean share of prompts whose answers were all alike.
        saved: how much lower that is, as a share of that of `static`.
    """

    arm: str
    seeds: int
    before: float
    after: float
    difference: float
    error: float | None
    better: int
    no_variance: float
    saved: float


@click.command()
@click.option("--seeds", default=3, type=click.IntRange(min=1), show_default=True, help="Runs of each arm.")
@out_option("demo/rollouts")
@earlier_option
@json_option
def rollouts(*, seeds: int, out: Path, earlier: Path | None, json_to: Path | None) -> None:
    """Train a small model by GRPO on two tasks of graded difficulty, with levels that move and that stay.

    A run takes a minute or two of a core. The command can be stopped and started again at any moment.
    """
    wanted = {(seed, arm): f"{arm}.{seed}" for seed, arm in product(range(seeds), ARMS)}
    found = all_runs(Result, lambda run: (run.seed, run.arm), wanted, _run, out, earlier)
    tell(_outcomes(found), found, _show, json_to)


def _run(seed: int, arm: str) -> Result:
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "AXOLOTL_DO_NOT_TRACK")
    os.environ.update(dict.fromkeys(offline, "1"), AXOLOTL_DATASET_NUM_PROC="0")
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.cli.train import do_train
    from axolotl.integrations.base import PluginManager
    from transformers import set_seed

    # stdout is for the result.
    with tempfile.TemporaryDirectory() as place, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        folder = Path(place)
        _pretrain(folder / "model", seed)
        PluginManager._instance = None  # noqa: SLF001 Axolotl keeps its plugins for the life of the process
        set_seed(seed)
        do_train(load_cfg(str(_config(folder, arm, seed))), TrainerCliArgs())
        states = sorted((folder / "out").glob("checkpoint-*/trainer_state.json"))
        log = json.loads(states[-1].read_text())["log_history"]
    rates = {task: [line[key] for line in log if (key := f"eval_{task}_reward") in line] for task in TASKS}
    alike = [line["frac_reward_zero_std"] for line in log if "loss" in line]
    before, after = ({task: of_task[at] for task, of_task in rates.items()} for at in (0, -1))
    return Result(arm, seed, before, after, mean(alike), environment())


def _prompts(task: str, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of a task, as many of each length."""
    rows = []
    for number in range(count):
        text = "".join(rng.choice([*LETTERS], 1 + number % LONGEST))
        rows.append({"prompt": f"{task[0].upper()}{text}=", "answer": TASKS[task](text), "length": len(text)})
    return rows


def _config(folder: Path, arm: str, seed: int) -> Path:
    """The file of a run's configuration, with its data."""
    rng = np.random.default_rng([seed, 1])
    entries: dict[str, list[dict[str, str]]] = {"datasets": [], "test_datasets": []}
    for (key, count), task in product((("datasets", ROWS), ("test_datasets", HELD_OUT)), TASKS):
        path = folder / key / f"{task}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in _prompts(task, count, rng)))
        split = {"split": "train"} if key == "test_datasets" else {}
        entries[key].append({"path": str(path), "ds_type": "json", **split})
    block = {"levels": LONGEST, "difficulty": "length", "update_every": 10, "max_epochs": 1000, "seed": seed}
    config = {
        "base_model": str(folder / "model"),
        "plugins": ["hbo_plugin.HBOPlugin"],
        "hbo": {**block, **ARMS[arm]},
        **entries,
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "out"),
        "rl": "grpo",
        "trl": {
            "beta": 0.0,
            "num_generations": ANSWERS,
            "max_completion_length": LONGEST + 1,
            "reward_funcs": ["benchmarks.rollouts.is_right"],
        },
        "sequence_len": 64,
        "micro_batch_size": PROMPTS * ANSWERS,
        "gradient_accumulation_steps": 1,
        "max_steps": STEPS,
        "num_epochs": 1000,
        "learning_rate": 0.0001,
        "lr_scheduler": "constant",
        "optimizer": "adamw_torch",
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": STEPS,
        "eval_steps": STEPS,
        "eval_on_start": True,
        "bf16": False,
        "tf32": False,
        "attn_implementation": "sdpa",
        "dataset_num_proc": 0,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": False,
        **dict.fromkeys([f"lora_{part}_kernel" for part in ("qkv", "o", "mlp", "embedding")], False),
        "seed": seed,
    }
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _pretrain(folder: Path, seed: int) -> None:
    """Save a small model that was shown both tasks for a short while, with a tokenizer of single letters."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    known = ["<pad>", "<s>", "</s>", *LETTERS, *(task[0].upper() for task in TASKS), "="]
    letters = Tokenizer(models.WordLevel({token: number for number, token in enumerate(known)}, unk_token="<pad>"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex(r"<[^>]*>|."), "isolated")
    letters.decoder = decoders.Fuse()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=letters, **special)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(known), bos_token_id=1, eos_token_id=2, pad_token_id=0, **sizes)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rng = np.random.default_rng([seed, 0])
    for _ in range(PRETRAINED):
        rows = [row for task in TASKS for row in _prompts(task, 32, rng)]
        batch = tokenizer([f"{row['prompt']}{row['answer']}</s>" for row in rows], padding=True, return_tensors="pt")
        asked = torch.tensor([len(row["prompt"]) for row in rows])[:, None]
        at = torch.arange(batch["input_ids"].shape[1])[None]
        labels = batch["input_ids"].masked_fill((at < asked) | (batch["attention_mask"] == 0), -100)
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def _outcomes(results: Sequence[Result]) -> list[Outcome]:
    by_run = {(each.arm, each.seed): each for each in results}
    outcomes = []
    for arm in ARMS:
        pairs = [
            (ours, base)
            for (name, seed), ours in by_run.items()
            if name == arm and (base := by_run.get((STATIC, seed)))
        ]
        if not pairs:
            continue
        rates = [(mean(ours.after.values()), mean(base.after.values())) for ours, base in pairs]
        differences = [ours - base for ours, base in rates]
        alike, alike_static = (mean(each.no_variance for each in of_arm) for of_arm in zip(*pairs, strict=True))
        outcomes.append(
            Outcome(
                arm,
                seeds=len(pairs),
                before=mean(mean(ours.before.values()) for ours, _ in pairs),
                after=mean(ours for ours, _ in rates),
                difference=mean(differences),
                error=stdev(differences) / len(pairs) ** 0.5 if len(pairs) > 1 else None,
                better=sum(difference > 0 for difference in differences),
                no_variance=alike,
                saved=1 - alike / alike_static,
            )
        )
    return outcomes


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table(title=f"GRPO, {STEPS} steps of {PROMPTS} prompts", title_justify="left", title_style="bold")
    table.add_column("levels")
    for header in ("seeds", "pass rate before", "after", f"from {STATIC}", "higher in", "without variance", "fewer by"):
        table.add_column(header, justify="right")
    for each in outcomes:
        error = "" if each.error is None else f" ± {each.error:.3f}"
        rates = (f"{each.before:.3f}", f"{each.after:.3f}", f"{each.difference:+.3f}{error}")
        table.add_row(
            each.arm, str(each.seeds), *rates, str(each.better), f"{each.no_variance:.1%}", f"{each.saved:.0%}"
        )
    console = wide_console()
    console.print(table)
    console.print("± is one standard error over the seeds.")
