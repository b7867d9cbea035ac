"""The command line: keys of the `hbo:` block that are given there win over the YAML, or are refused."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from runs import Config, read_trace

pytestmark = pytest.mark.axolotl

PROGRAMS = Path(sys.executable).parent


def written(config: Config, tmp_path: Path) -> str:
    path = tmp_path / "config.yml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"  # Axolotl looks for the launcher there
    environment = {**os.environ, "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([*command], env=environment, check=False, capture_output=True, text=True)


def test_keys_of_the_command_line_win(make_config: Any, tmp_path: Path) -> None:
    config = make_config(hbo={"weights": {"sums": 1, "words": 1, "tales": 1}, "levels": 2})
    options = ["--hbo.weights", "{sums: 1, words: 3, tales: 4}", "--hbo.max-epochs=.inf", "--hbo__levels=1"]
    launch = [str(PROGRAMS / "torchrun"), "--nproc_per_node", "1", "-m", "axolotl.cli.train"]
    done = run(*launch, written(config, tmp_path), *options, "--max-steps=2")
    assert done.returncode == 0, done.stderr
    start = read_trace(Path(config["output_dir"]))[0]
    assert start["weights"] == {"sums": [0.125], "words": [0.375], "tales": [0.5]}


def test_a_launcher_refuses_what_axolotl_train_hands_on(make_config: Any, tmp_path: Path) -> None:
    config = make_config()
    done = run(str(PROGRAMS / "axolotl"), "train", written(config, tmp_path), "--hbo.update_every=5")
    assert done.returncode != 0
    assert "error: unrecognized arguments: --hbo.update_every=5" in done.stderr
    assert not Path(config["output_dir"]).exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("form", [["--hbo.update_every=5"], ["--hbo.update-every", "5"], ["--hbo__update_every=5"]])
def test_what_axolotl_drops_is_refused(make_config: Any, tmp_path: Path, command: str, form: list[str]) -> None:
    from axolotl.cli.main import cli

    done = CliRunner().invoke(cli, [command, written(make_config(), tmp_path), "--launcher", "python", *form])
    assert isinstance(done.exception, ValueError)
    assert str(done.exception) == (
        f"`{form[0]}` was given, but `axolotl {command}` takes no keys of `hbo:`; give it to "
        f"`python -m axolotl.cli.{command}`, `accelerate launch -m axolotl.cli.{command}` or "
        f"`torchrun -m axolotl.cli.{command}`."
    )


def read(config: Config, tmp_path: Path, **options: Any) -> Any:
    """The configuration as the modules of Axolotl's commands see it, with these options."""
    from axolotl.cli.config import load_cfg

    return load_cfg(written(config, tmp_path), **options)


def test_a_value_is_read_as_yaml(make_config: Any, tmp_path: Path) -> None:
    values = {"max_epochs": "{sums: null, words: 3}", "names": "[a/b, sums, words]", "log_levels": "true", "levels": 2}
    cfg = read(make_config(), tmp_path, **{f"hbo.{key}": value for key, value in values.items()})
    assert cfg.hbo.max_epochs.to_dict() == {"sums": float("inf"), "words": 3}
    assert (cfg.hbo.names, cfg.hbo.log_levels, cfg.hbo.levels) == (["a/b", "sums", "words"], True, 2)
    assert cfg.hbo.update_every == 3  # of the YAML


@pytest.mark.parametrize("hbo", [None, {}])
def test_there_need_be_no_block(make_config: Any, tmp_path: Path, hbo: Any) -> None:
    assert read(make_config(hbo=hbo), tmp_path, **{"hbo.levels": 1}).hbo.levels == 1
    assert read(make_config(hbo=None), tmp_path).hbo is None


@pytest.mark.parametrize(
    ("hbo", "options", "message"),
    [
        ({}, {"hbo.levels": "{sums: "}, "`--hbo.levels {sums: ` was given, but the value is not YAML; write it as after `levels:`."),
        ({}, {"hbo.levles": 2}, "`hbo.levles: 2` was given, but there is no such key; did you mean `levels`?"),
        ({}, {"hbo.reward.global": "loss"}, "`hbo.reward.global: loss` was given, but there is no such key;"),
        (True, {"hbo.levels": 2}, "`hbo: True` was given, but `hbo:` is a block of keys;"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(
    make_config: Any, tmp_path: Path, hbo: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is compared
        read(make_config(hbo=hbo), tmp_path, **options)
    assert message in str(error.value)


def test_a_sweep_goes_over_keys(make_config: Any, tmp_path: Path) -> None:
    from axolotl.cli.config import load_cfg
    from axolotl.cli.utils import generate_config_files

    sweep = tmp_path / "sweep.yml"
    sweep.write_text("hbo.update_every: [5, 6]\n")
    files = [file for file, _ in generate_config_files(written(make_config(), tmp_path), str(sweep))]
    assert sorted(load_cfg(file).hbo.update_every for file in files) == [5, 6]
    for file in files:
        Path(file).unlink()
