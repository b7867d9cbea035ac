"""Prepared rows: what they are made of decides when they are made again; a run never trains on others, nor dies on a rest."""

import errno
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("axolotl")

import axolotl
import axolotl.cli.config  # sets up logging, and would take caplog's handler away later
from datasets import Dataset
from runs import load

from hbo_plugin import compat, compat_rows
from hbo_plugin.args import HBOConfig
from hbo_plugin.data import load as data

pytestmark = pytest.mark.axolotl


@pytest.fixture
def config(make_config: Any, tmp_path: Path) -> dict[str, Any]:
    """Two datasets in a folder of their own, without anything prepared; with a model of their own."""
    config: dict[str, Any] = make_config(
        {"sums": 16, "tales": 20}, dataset_prepared_path=str(tmp_path / "prepared"), output_dir=str(tmp_path / "out")
    )
    for entry in config["datasets"]:
        entry["path"] = shutil.copy(entry["path"], tmp_path)
    config["base_model"] = str(shutil.copytree(config["base_model"], tmp_path / "model"))
    return config


def run_data(config: dict[str, Any], folder: Path) -> data.RunData:
    cfg = load(config, folder)
    return data.load(cfg, HBOConfig.model_validate(cfg.hbo.to_dict()))


def write(path: str | Path, rows: list[dict[str, Any]]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def tokens(loaded: data.RunData) -> list[list[int]]:
    return sorted(loaded.train["input_ids"][:])


def test_a_changed_file_is_prepared_anew(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_data(config, tmp_path)
    path = config["datasets"][1]["path"]
    write(path, [{"text": f"There were {i} birds."} for i in range(30)])
    assert run_data(config, tmp_path).cells.sizes.sum(1).tolist() == [16, 30]
    notes = [record.getMessage() for record in caplog.records if "prepared anew" in record.getMessage()]
    assert len(notes) == 1
    assert notes[0].startswith("hbo: the rows of dataset `tales` are prepared anew in ")
    assert notes[0].endswith(f"because {path} changed")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tokens", ["Reverse:"]),
        ("excess_length_strategy", "truncate"),
        ("min_sample_len", "median"),
        ("sequence_len", 64),
    ],
)
def test_a_changed_key_is_prepared_anew(
    config: dict[str, Any], make_config: Any, tmp_path: Path, key: str, value: Any
) -> None:
    config["datasets"] = make_config({"words": 20})["datasets"]
    median = int(np.sort(run_data(config, tmp_path).cells.lengths)[10])
    before = tokens(run_data({**config, "sequence_len": median}, tmp_path))
    changed = {**config, "sequence_len": median, key: median if value == "median" else value}
    after = tokens(run_data(changed, tmp_path))
    assert after != before
    assert after == tokens(run_data({**changed, "dataset_prepared_path": str(tmp_path / "fresh")}, tmp_path))


def test_a_tokenizer_that_may_not_ask_a_hub_is_the_same(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    from hbo_plugin.data.prepared import tokenizer_digest

    one, other = (AutoTokenizer.from_pretrained(tiny_model, local_files_only=alone) for alone in (True, False))
    assert tokenizer_digest(one) == tokenizer_digest(other)
    one.add_tokens(["<new>"])
    assert tokenizer_digest(one) != tokenizer_digest(other)


def test_a_changed_tokenizer_is_prepared_anew(config: dict[str, Any], tmp_path: Path) -> None:
    config["sequence_len"] = 1024
    before = tokens(run_data(config, tmp_path))
    path = Path(config["base_model"]) / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:5]
    path.write_text(json.dumps(tokenizer))
    after = tokens(run_data(config, tmp_path))
    assert sum(map(len, after)) > sum(map(len, before))


def test_a_folder_of_files_is_prepared_anew_when_one_changes(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    write(folder / "a.jsonl", [{"text": f"One of {i} stones."} for i in range(8)])
    config["datasets"] = [{"path": str(folder), "type": "completion", "field": "text"}]
    assert len(run_data(config, tmp_path).train) == 8
    write(folder / "b.jsonl", [{"text": f"Two of {i} stones."} for i in range(4)])
    assert len(run_data(config, tmp_path).train) == 12
    config["datasets"][0]["data_files"] = [str(folder / "*.jsonl")]
    assert len(run_data(config, tmp_path).train) == 12
    write(folder / "b.jsonl", [{"text": f"Two of {i} clouds."} for i in range(6)])
    assert len(run_data(config, tmp_path).train) == 14


def test_a_run_that_finds_everything_prepares_and_writes_nothing(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the seed, the number of levels or of held-out rows."""
    run_data(config, tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.joinpath("prepared").rglob("*") if path.is_file()}
    monkeypatch.setattr(compat_rows, "load_entry", lambda *_: pytest.fail("prepared anew"))
    config["hbo"]["levels"] = 3
    loaded = run_data({**config, "seed": 8, "val_set_size": 0.25}, tmp_path)
    assert loaded.cells.sizes.sum() == 36 - 4 - 5
    found = {path: path.stat().st_mtime_ns for path in tmp_path.joinpath("prepared").rglob("*") if path.is_file()}
    changed = {path.name for path in {*kept, *found} if kept.get(path) != found.get(path)}
    assert changed <= {"datasets_prep.lock"}


def test_a_folder_that_cannot_be_written_but_holds_everything(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tokens(run_data(config, tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.access", lambda *_, **__: False)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert tokens(run_data(config, tmp_path)) == expected
    with pytest.raises(ValueError, match=r"dataset `sums` has no prepared rows in .*, which cannot be written"):
        run_data({**config, "sequence_len": 100}, tmp_path)


@pytest.mark.parametrize(
    "damage", ["state.json dataset_info.json", "hbo.json", "data-00000-of-00001.arrow", "cut", "emptied", "not json"]
)
def test_a_damaged_folder_is_prepared_anew(
    config: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    expected = tokens(run_data(config, tmp_path))
    about = min(tmp_path.glob("prepared/hbo/*/hbo.json"))
    arrow = min(about.parent.glob("*/*.arrow"))
    if damage == "cut":
        arrow.write_bytes(arrow.read_bytes()[:-100])
    elif damage == "emptied":
        arrow.write_bytes(b"")
    elif damage == "not json":
        about.write_text("{")
    else:
        for name in damage.split():
            min(about.parent.rglob(name)).unlink()
    assert tokens(run_data(config, tmp_path)) == expected
    assert sum("prepared anew" in record.getMessage() for record in caplog.records) == 1
    caplog.clear()
    assert tokens(run_data(config, tmp_path)) == expected
    assert not any("prepared anew" in record.getMessage() for record in caplog.records)


def test_a_full_disk_leaves_nothing_that_a_later_run_dies_on(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Dataset.save_to_disk

    def fill(self: Any, path: Any, **options: Any) -> None:
        save(self, path, **options)
        (Path(path) / "state.json").unlink()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "save_to_disk", fill)
        with pytest.raises(ValueError, match=r"dataset `sums` cannot be prepared; .*No space left on device"):
            run_data(config, tmp_path)
    assert len(run_data(config, tmp_path).train) == 36


@pytest.mark.parametrize("messages", [[], None])
def test_a_row_without_messages_is_named(config: dict[str, Any], tmp_path: Path, messages: Any) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]} for _ in range(9)]
    write(tmp_path / "chats.jsonl", [*rows, {"messages": messages}, *rows])
    config["datasets"].append(
        {
            "path": str(tmp_path / "chats.jsonl"),
            "ds_type": "json",
            "type": "chat_template",
            "field_messages": "messages",
        }
    )
    with pytest.raises(
        ValueError,
        match=r"^dataset `chats`: row 10, whose `messages` is empty, cannot be tokenised \(.*\); correct or remove it\.$",
    ):
        run_data(config, tmp_path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"labels": None}, "row 3 has 3 `input_ids`, 3 `attention_mask`, no `labels`; a row needs as many of each"),
        (
            {"attention_mask": [1]},
            "row 3 has 3 `input_ids`, 1 `attention_mask`, 3 `labels`; a row needs as many of each",
        ),
    ],
)
def test_a_tokenised_row_that_lacks_something_is_named(
    config: dict[str, Any], tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [5, 6, 7]}
    write(tmp_path / "own.jsonl", [row, row, {**row, **change}, row])
    config["datasets"].append({"path": str(tmp_path / "own.jsonl"), "ds_type": "json", "type": None})
    with pytest.raises(ValueError, match=re.escape(f"dataset `own`: {expected}")):
        run_data(config, tmp_path)


def test_tokenised_rows_without_labels_are_named(config: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path / "own.jsonl", [{"input_ids": [5, 6, 7]}])
    config["datasets"].append({"path": str(tmp_path / "own.jsonl"), "ds_type": "json", "type": None})
    with pytest.raises(
        ValueError, match="dataset `own`: its rows have `input_ids` but no `attention_mask` and no `labels`"
    ):
        run_data(config, tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_dataset_without_a_token_to_train_on_is_refused(
    config: dict[str, Any], tmp_path: Path, *, packed: bool
) -> None:
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [-100, -100, -100]}
    write(tmp_path / "silent.jsonl", [row] * 6)
    config["datasets"].append({"path": str(tmp_path / "silent.jsonl"), "ds_type": "json", "type": None})
    with pytest.raises(ValueError, match=r"^dataset `silent` .*(every label is masked|masked to -100)"):
        run_data({**config, "sample_packing": packed}, tmp_path)
    write(tmp_path / "silent.jsonl", [*[row] * 6, {**row, "labels": [5, 6, 7]}])
    notes = run_data({**config, "hbo": {"levels": 1}}, tmp_path).notes
    assert notes == ["dataset `silent`: 6 of 7 rows have no token to train on, because every label is masked"]


def test_datasets_of_other_integer_widths_train_together(config: dict[str, Any], tmp_path: Path) -> None:
    """A user's own tokens are int64 in JSON, while Axolotl's are narrower."""
    row = {"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1], "labels": [5, 6, 7]}
    write(tmp_path / "own.jsonl", [row] * 6)
    config["datasets"].append({"path": str(tmp_path / "own.jsonl"), "ds_type": "json", "type": None})
    loaded = run_data(config, tmp_path)
    assert loaded.cells.lengths[-6:].tolist() == [3] * 6
    assert [loaded.train[index] for index in range(-6, 0)] == [row] * 6


_WITHOUT_EFFECT = {
    # On which rows there are: the lists themselves, and what hbo sets.
    "datasets", "test_datasets", "val_set_size", "seed", "data_seed", "shuffle_merged_datasets", "dataset_prepared_path",
    "shuffle_before_merging_datasets", "push_dataset_to_hub",
    # On how they are made.
    "dataset_num_proc", "dataset_keep_in_memory", "num_dataset_shards_to_save", "hf_use_auth_token", "is_preprocess",
    "output_dir",
    # Refused, or for other kinds of training.
    "curriculum_sampling", "skip_prepare_dataset", "streaming", "pretraining_dataset", "rl", "reward_model", "ebft",
    "streaming_multipack_buffer_size", "accelerator_config", "balance_labels", "diffusion", "sample_packing_sequentially",
    "pretrain_multipack_attn", "pretrain_multipack_buffer_size", "pretraining_sample_concatenation", "processor_type",
    # Read for the number of steps and for packing, which hbo does itself.
    "max_steps", "num_epochs", "batch_size", "micro_batch_size", "total_num_tokens", "total_supervised_tokens",
    "sample_packing_eff_est", "sample_packing_bin_size", "sample_packing_group_size", "sample_packing_mp_start_method",
    "multipack_real_batches",
    # In the digest of the tokenizer.
    "tokenizer_config", "tokenizer_type", "tokenizer_legacy", "tokenizer_use_fast", "tokenizer_use_mistral_common",
    "revision_of_model", "attn_implementation", "adapter", "lora_modules_to_save",
}  # fmt: skip


def test_every_key_that_axolotl_reads_while_preparing_is_known() -> None:
    """A new version that looks at another key would serve rows that were prepared under another value."""
    root = Path(next(iter(axolotl.__path__)))
    files = [root / "datasets.py", root / "loaders" / "tokenizer.py", *root.glob("prompt_*.py")]
    files += [root / "utils" / "data" / f"{name}.py" for name in ("rl", "sft", "shared", "utils", "wrappers")]
    files += [path for path in root.glob("prompt_strategies/*.py") if path.name != "base.py"]
    read = {
        key
        for file in files
        if file.exists()
        for key in re.findall(r"\b(?:self\.)?cfg(?:\.get\(\s*[\"']|\.)([a-z_]+)\b(?!\()", file.read_text())
    }
    assert read - {"get"} <= {*compat.PREPARING, *_WITHOUT_EFFECT}
