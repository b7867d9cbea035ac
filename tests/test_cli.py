"""`python -m hbo_plugin`: each answer comes soon, without Axolotl or torch, and stdout holds nothing else."""

import json
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from traces import record, run_of, write

from hbo_plugin import cli

ROOT = Path(__file__).parents[1]

# What a command must not import, and what would print.
BLOCKED = """
import runpy, sys
for name in ("torch", "axolotl", "transformers", "datasets", "numpy", "matplotlib", "plotly", "jinja2"):
    sys.modules[name] = None
sys.argv = ["hbo_plugin", *sys.argv[1:]]
runpy.run_module("hbo_plugin", run_name="__main__")
"""


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call the command in a process that has none of the large packages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], check=False, capture_output=True, text=True, env=environment
    )


def test_a_report_needs_no_large_package_and_prints_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", *run_of("sums", "words"))
    done = start("report", str(folder), "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["step"] == 12
    done = start("report", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("The mixture after 12 steps")


def test_rows_are_read_back_without_a_large_package(tmp_path: Path) -> None:
    first = {**run_of("sums")[0], "entries": {"sums": {"path": "sums.jsonl"}}}
    folder = record(write(tmp_path / "out", first), {1: [(0, 5)]})
    done = start("rows", str(folder), "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["raw_row"] for row in json.loads(done.stdout)["rows"]] == [5]


def test_a_report_takes_less_than_two_seconds(tmp_path: Path) -> None:
    """Of a processor: how long that takes on a busy machine is not the command's doing."""
    folder = write(tmp_path / "out", *run_of("sums", "words"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "hbo_plugin", "report", str(folder)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_an_error_leaves_stdout_empty(tmp_path: Path) -> None:
    done = start("report", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")


def test_help_lists_the_commands_without_importing_them() -> None:
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, (_, line) in cli.COMMANDS.items():
        assert f"{name} " in done.stdout
        assert line in done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_a_command_is_that_of_the_table(name: str) -> None:
    pytest.importorskip("rich")
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(limit=200) == cli.COMMANDS[name][1]


def test_an_unknown_command_is_refused() -> None:
    done = CliRunner().invoke(cli.main, ["reprot"])
    assert done.exit_code == 2
    assert "No such command 'reprot'" in done.stderr


def test_axolotl_s_commands_are_the_same() -> None:
    section = (ROOT / "pyproject.toml").read_text().split('[project.entry-points."axolotl.cli_commands"]\n')[1]
    lines = [line.split(" = ") for line in section.partition("\n\n")[0].splitlines()]
    targets = {name: target.strip('"') for name, target in lines}
    assert targets == {
        f"hbo-{name}": cli.COMMANDS[name][0] for name in ("bench", "check", "compare", "report", "score", "search")
    }
    for target in targets.values():
        module, _, attribute = target.partition(":")
        assert isinstance(getattr(import_module(module), attribute), click.Command)


def test_every_page_can_be_printed() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "docs").glob("*.md")}
    listed = start("docs").stdout.splitlines()
    assert [line.split()[0] for line in listed] == sorted(pages)
    for line, name in zip(listed, sorted(pages), strict=True):
        assert pages[name].startswith(f"# {line.split(maxsplit=1)[1]}\n")
        assert CliRunner().invoke(cli.main, ["docs", name]).stdout == pages[name]


def test_an_unknown_page_is_refused() -> None:
    done = start("docs", "method")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: `method` was given, but the pages are `")
    assert "`methods`" in done.stderr


def test_the_schema_is_the_file_of_the_package() -> None:
    done = start("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "hbo_plugin" / "hbo.schema.json").read_text()
    assert json.loads(done.stdout)["properties"]["hbo"]
