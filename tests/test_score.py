"""The command `score`: processes share the rows, a killed one is taken up, and the training finds what was scored."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from runs import Config, lines, load

pytest.importorskip("axolotl")

from pairs import of_kind
from scoring import FOLDER, KILL

from hbo_plugin.args import HBOConfig
from hbo_plugin.data.difficulty import Scorer
from hbo_plugin.data.load import RunData
from hbo_plugin.data.load import load as load_data
from hbo_plugin.features import SCORES_TOLD
from hbo_plugin.score import score
from hbo_plugin.setup import Setup

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0", "--num_processes", "2")


def written(config: Config, folder: Path) -> Path:
    path = folder / "config.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Config, seen: Path, *launcher: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command, in processes that write down what they score."""
    seen.mkdir()
    seeing = {**config, "plugins": [*config["plugins"], "cpu_ranks.CPURanksPlugin", "scoring.ScoringPlugin"]}
    helpers, root = Path(__file__).parent / "helpers", Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{helpers}", FOLDER: str(seen), **variables}
    return subprocess.run(
        [sys.executable, *launcher, "-m", "hbo_plugin", "score", str(written(seeing, seen))],
        check=False,
        capture_output=True,
        text=True,
        cwd=seen,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


def data_of(config: Config, folder: Path) -> RunData:
    """As the training loads them."""
    return load_data(load(config, folder), HBOConfig.model_validate(config["hbo"]))


def scored(seen: Path) -> list[Counter[str]]:
    """The rows that each process scored."""
    return [Counter(map(str, lines(path))) for path in seen.glob("*.jsonl")]


def saved(config: Config) -> dict[str, Any]:
    """The scores on disk, by file name; NaN for none."""
    files = Path(config["dataset_prepared_path"]).rglob("scores/*.npy")
    return {path.name: np.load(path) for path in files}


@pytest.mark.axolotl
@pytest.mark.parametrize(("kind", "rows_of"), [("loss", "input_ids"), ("margin", "prompt")])
def test_ranks_share_the_rows_and_a_killed_command_goes_on(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, rows_of: str
) -> None:
    config = make_config(hbo={"difficulty": kind}, dataset_prepared_path=str(tmp_path / "prepared"))
    if kind == "margin":
        pairs = {"weights": {"a": 50, "b": 50}, "levels": 2, "difficulty": kind}
        config = of_kind({**config, "hbo": pairs}, "dpo", tmp_path, {"a": 80, "b": 20})
    alone = {**config, "dataset_prepared_path": str(tmp_path / "alone")}
    rows = Counter(map(str, data_of(alone, tmp_path).train[rows_of]))
    # As where FSDP has the first rank alone read the model, which then hands it on.
    sharded = {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    killed = start(config, tmp_path / "first", *TORCHRUN, **sharded, **{KILL: "4"})
    assert killed.returncode != 0
    assert len(scored(tmp_path / "first")) == 2
    (partial,) = saved(config).values()
    kept = int(np.isfinite(partial).sum())
    assert 0 < kept < len(partial) == 80
    done = start(config, tmp_path / "second", *ACCELERATE, **sharded)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"Every row has its difficulty `{kind}`") == 1
    one, other = scored(tmp_path / "second")
    assert not (one + other) - rows
    assert one.total() + other.total() == rows.total() - kept
    assert min(one.total(), other.total()) > 0.25 * (rows.total() - kept)
    together = saved(config)
    assert together.keys() == saved(alone).keys()
    for name, scores in saved(alone).items():
        np.testing.assert_allclose(together[name], scores, rtol=1e-5)
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    data_of(config, tmp_path)


def test_a_process_alone_scores_and_the_notes_name_rows_without_a_prompt(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(hbo={"difficulty": "ifd"}, tokens=["<new>"])
    done = CliRunner().invoke(score, [str(written(config, tmp_path))], catch_exceptions=False)
    assert "Every row has its difficulty `ifd`" in done.stdout
    monkeypatch.setattr(Scorer, "_batch_scores", lambda *_: pytest.fail("scored again"))
    data = data_of(config, tmp_path)
    assert [note for note in data.notes if "no prompt" in note] == [
        (
            "dataset `tales`: 16 of 16 rows have no prompt, so `difficulty: ifd` compares their text with itself and says nothing "
            "about how hard they are; set `difficulty: loss`"
        )
    ]


@pytest.mark.parametrize(
    ("hbo", "message"),
    [
        ({}, f"`hbo.difficulty: length` needs no model; set it to {SCORES_TOLD}, or just train."),
        ({"difficulty": "loss", "levels": 1}, "no dataset has more than one level, so nothing needs a difficulty;"),
        (
            {"scorer_model": "small", "difficulty": "hardness"},
            "`hbo.difficulty: hardness` needs no model;",
        ),
    ],
)
def test_what_needs_no_model_is_refused(make_config: Any, tmp_path: Path, hbo: Config, message: str) -> None:
    with pytest.raises(ValueError, match="hbo") as error:
        CliRunner().invoke(score, [str(written(make_config(hbo=hbo), tmp_path))], catch_exceptions=False)
    assert str(error.value).startswith(message)
    if "scorer_model" in hbo:
        with pytest.raises(ValueError, match="was given, but no model scores `difficulty: hardness`; set it to"):
            Setup(load(make_config(hbo=hbo), tmp_path)).refuse()
