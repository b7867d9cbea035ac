"""A tiny model with its tokenizer, small datasets, and real Axolotl runs on them in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hbo_plugin.trace import TRACE_FILE, Trace

Config = dict[str, Any]

STILL = 1e-12
"""A learning rate under which the model stays as it is to the last bit that matters, so that signals can be compared."""


def save_tiny_model(folder: Path) -> Path:
    """A folder with a two-layer llama of width 64 and a tokenizer of 600 tokens with a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = [line for task in TASKS.values() for row in task(20) for line in row.values() if isinstance(line, str)]
    text += [
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
    ]
    special = ["<s>", "</s>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    fast.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
        "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def _sums(count: int) -> list[Config]:
    """Alpaca rows."""
    return [
        {
            "instruction": f"Add {i % 23} and {i}.",
            "input": "",
            "output": f"{i % 23} + {i} = {i % 23 + i}",
            "hardness": i,
        }
        for i in range(count)
    ]


def _words(count: int) -> list[Config]:
    """Chat rows, of very unequal length."""
    words = ["red", "green", "blue", "stone", "river", "cloud"]
    chosen = [[words[(i * k) % 6] for k in range(1, 2 + i % 9)] for i in range(count)]
    return [
        {
            "messages": [
                {"role": "user", "content": f"Reverse: {' '.join(line)}"},
                {"role": "assistant", "content": " ".join(reversed(line))},
            ],
            "hardness": len(line),
        }
        for line in chosen
    ]


def _tales(count: int) -> list[Config]:
    """Completion rows."""
    return [
        {"text": f"Once there were {i} stones by the river, and {i * 7 % 11} clouds.", "hardness": -i}
        for i in range(count)
    ]


TASKS: dict[str, Callable[[int], list[Config]]] = {"sums": _sums, "words": _words, "tales": _tales}
ENTRIES: dict[str, Config] = {
    "sums": {"type": "alpaca"},
    "words": {"type": "chat_template", "field_messages": "messages"},
    "tales": {"type": "completion", "field": "text"},
}


def short_run(model: Path, corpus: Path, output: Path, sizes: dict[str, int] | None = None, **changes: Any) -> Config:
    """The configuration of a short CPU run of a model on datasets of these sizes."""
    sizes = sizes or {"sums": 80, "words": 40, "tales": 16}
    datasets = []
    for name, count in sizes.items():
        path = corpus / str(count) / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in TASKS[name](count)))
        datasets.append({"path": str(path), "ds_type": "json", **ENTRIES[name]})
    config: Config = {
        "base_model": str(model),
        "plugins": ["hbo_plugin.HBOPlugin"],
        "hbo": {"update_every": 3, "levels": 2, "record_rows": True, "gradient_rows": 4, "forward_rows": 4},
        "datasets": datasets,
        "dataset_prepared_path": str(corpus / "prepared"),
        "output_dir": str(output),
        "sequence_len": 128,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": 12,
        "num_epochs": 1,
        "learning_rate": 0.001,
        "lr_scheduler": "cosine",
        "optimizer": "adamw_torch",
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 4,
        "val_set_size": 0,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "attn_implementation": "sdpa",
        "dataset_num_proc": 0,
        "dataloader_pin_memory": False,
        "gradient_checkpointing": False,
        # They switch themselves on, and need a GPU.
        **dict.fromkeys([f"lora_{part}_kernel" for part in ("qkv", "o", "mlp", "embedding")], False),
        "seed": 7,
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def load(config: Config, folder: Path) -> Any:
    """The configuration as Axolotl's commands see it: plugins registered, validated, normalised."""
    import yaml
    from axolotl.cli.config import load_cfg

    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config))
    return load_cfg(str(path))


def features_asked(config: Config, folder: Path) -> set[str]:
    """The features of the table of kinds that a configuration asks for."""
    from hbo_plugin.args import HBOConfig
    from hbo_plugin.features import FEATURES

    cfg = load(config, folder)
    block = HBOConfig.model_validate(cfg.hbo.to_dict())
    return {name for name, feature in FEATURES.items() if feature.asked(cfg, block)}


def train(config: Config) -> Path:
    """`axolotl train` on a configuration, in this process; returns the output folder."""
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.train import do_train
    from transformers import set_seed

    folder = Path(config["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    # As in a process of its own: before 0.21, Axolotl draws a new adapter from whatever state the generators are in.
    set_seed(0)
    do_train(load(config, folder.parent), TrainerCliArgs())
    return folder


def lines(path: Path) -> list[Config]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_trace(folder: Path) -> list[Config]:
    """The records of the trace of a run."""
    return Trace(folder / TRACE_FILE).read()


def history(folder: Path, key: str) -> dict[int, float]:
    """The values of a scalar in the log history of the newest checkpoint, by step."""
    newest = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    log = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return {record["step"]: record[key] for record in log if key in record}


def assert_traces_agree(folder: Path, other: Path) -> None:
    """Two runs updated and evaluated at the same steps, with the same weights, signals and held-out losses."""
    for record, wanted in zip(read_trace(folder), read_trace(other), strict=True):
        assert [record[key] for key in ("event", "step")] == [wanted[key] for key in ("event", "step")]
        found, expected = _numbers(record), _numbers(wanted)
        assert found.keys() == expected.keys()
        for key, values in found.items():
            np.testing.assert_allclose(values, expected[key], rtol=1e-4, err_msg=f"{key} at step {record['step']}")


def _numbers(record: Config) -> dict[str, Any]:
    """Weights, signals and held-out losses of a record of the trace, by dataset; NaN for what was not measured."""
    tables = {**record.get("signals", {}), **{key: record[key] for key in ("weights", "held_out") if key in record}}
    return {f"{key} of {name}": np.array(of, float) for key, table in tables.items() for name, of in table.items()}
