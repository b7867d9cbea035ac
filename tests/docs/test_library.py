"""docs/library.md: each script runs as it is, and prints what the page says."""

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hbo_plugin import MixtureSampler, PackedBatchSampler

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
SCRIPTS = {
    heading: (code, output)
    for heading, code, output in re.findall(
        r"^## ([^\n]*)\n(?:(?!^## ).)*?^```python\n(.*?)^```$(?:\n\n^```\n(.*?)^```$)?", PAGE, re.DOTALL | re.MULTILINE
    )
}
PRINTING = ["Exact shares of several datasets", "New weights while you train", "Stop and go on", "Packing"]
STATEFUL, DDP, TRAINER, SFT = (
    "Workers that fetch ahead",
    "Several GPUs",
    "Trainer of Transformers",
    "SFTTrainer of TRL, packed",
)


def run(heading: str, changes: dict[str, str] | None = None) -> dict[str, Any]:
    """What the script under a heading leaves behind."""
    code = SCRIPTS[heading][0]
    for old, new in (changes or {}).items():
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, heading, "exec"), names)  # noqa: S102 that it runs is what is tested
    return names


def torchrun(script: Path, *arguments: str) -> str:
    """What a script prints under the launcher of which `torchrun` is the short name."""
    launcher = [sys.executable, "-m", "torch.distributed.run", *arguments, script.name]
    return subprocess.check_output(launcher, cwd=script.parent, text=True)


def test_every_script_is_tested() -> None:
    assert set(SCRIPTS) == {*PRINTING, STATEFUL, DDP, TRAINER, SFT}
    assert len(SCRIPTS) == PAGE.count("```python")


@pytest.mark.parametrize("heading", PRINTING)
def test_a_script_prints_what_the_page_says(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(heading)
    assert capsys.readouterr().out == SCRIPTS[heading][1] != ""


def test_the_script_with_workers(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torchdata")
    test_a_script_prints_what_the_page_says(STATEFUL, capsys)


def test_the_script_for_two_ranks(tmp_path: Path) -> None:
    """By the command of the page, whose launcher is `torch.distributed.run`."""
    code, command = SCRIPTS[DDP]
    (tmp_path / "ddp.py").write_text(code)
    assert command == "torchrun --nproc-per-node 2 ddp.py\n"
    assert torchrun(tmp_path / "ddp.py", "--nproc-per-node", "2").strip() == "True"


def test_the_script_for_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script itself says that runs resumed before and after new weights have the losses of the first."""
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    losses = run(TRAINER)["losses"]
    assert len(losses) == len(set(losses)) == 20


def test_the_script_for_the_trainer_with_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the page says below it; the script's own assertions hold there too."""
    pytest.importorskip("torchdata")
    monkeypatch.chdir(tmp_path)
    changes = {
        "from torch.utils.data import ConcatDataset, DataLoader": "from torch.utils.data import ConcatDataset\n"
        "from torchdata.stateful_dataloader import StatefulDataLoader as DataLoader",
        "collate_fn=default": "num_workers=1, collate_fn=default",
        '"sampler": self.sampler.state_dict()': '"sampler": self.loader.state_dict()',
        "sampler.load_state_dict(": "loader.load_state_dict(",
    }
    losses = run(TRAINER, changes)["losses"]
    assert len(losses) == len(set(losses)) == 20


def test_the_script_for_the_trainer_on_two_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asserts on each rank that resumed runs have the losses of the first."""
    pytest.importorskip("transformers")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    code = SCRIPTS[TRAINER][0] + "\nPath(f'done-{torch.distributed.get_rank()}').touch()\n"
    (tmp_path / "trainer.py").write_text(code)
    torchrun(tmp_path / "trainer.py", "--nproc-per-node", "2")
    assert len(list(tmp_path.glob("done-*"))) == 2


def test_the_script_for_trl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It trained on as many tokens as the bins of the stream have, and the next batch is the next bin."""
    pytest.importorskip("trl")
    monkeypatch.chdir(tmp_path)
    names = run(SFT)
    trainer, lengths = names["trainer"], names["lengths"]
    bins = PackedBatchSampler(MixtureSampler([300, 50], [70, 30], seed=1), lengths, capacity=256)
    tokens = sum(lengths[rows].sum() for rows in islice(bins, 20))
    assert trainer.state.log_history[-2]["num_tokens"] == tokens > 0.95 * 20 * 256
    batch = next(iter(trainer.get_train_dataloader()))
    data = trainer.train_dataset
    rows = next(iter(bins))
    expected = [token for row in rows for token in data[row]["input_ids"]]
    assert batch["input_ids"].tolist() == [expected]
    assert (batch["position_ids"] == 0).sum() == len(rows)
