"""`python -m benchmarks gpu`: every case in a process of its own, and what they found in one table and one file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.gpu.case import Finding, findings
from benchmarks.gpu.cases import CASES
from hbo_plugin.bench.report import environment
from hbo_plugin.outputs import STDOUT, json_option, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "torch", "transformers", "accelerate", "peft", "axolotl", "triton", "bitsandbytes", "liger-kernel", "flash-attn",
    "cut-cross-entropy",
)  # fmt: skip
TOLD = 40
"""Last lines of what a case printed that did not come to its end."""
AT_ONCE = 2
"""Cases of the small form, most of which is a start on one core."""
SLOW = 4
"""Times as long as on a card may a case of the small form take on a busy CPU."""


@click.command()
@click.option("--part", type=click.IntRange(1, 2), help="Half of the cases, in less than ten minutes.")
@click.option("--only", multiple=True, type=click.Choice([*CASES]), help="These cases; may be given several times.")
@click.option("--small", is_flag=True, help="The tiny model on the CPU, and no bounds on time or memory.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Keep models, runs and what the cases printed in this folder."
)
@json_option
def gpu(*, part: int | None, only: Sequence[str], small: bool, out: Path | None, json_to: Path | None) -> None:
    """Find out whether hbo works on this machine's NVIDIA card, and what it costs there; fails where a bound does not hold.

    Models are made at random, and rows too: nothing is downloaded. A file of `--json` that is there keeps the cases that
    are not run again.
    """
    card = _card(small=small)
    names = [name for name, entry in CASES.items() if (not part or entry.part == part) and (not only or name in only)]
    earlier = [finding for finding in _earlier(json_to, card) if finding.case not in names]
    found: list[Finding] = []
    with _results(names, out, small=small) as results:
        for mine in results:
            click.echo("\n".join(map(str, mine)), err=True)
            found += mine
            if json_to not in (None, STDOUT):
                _write(json_to, earlier + found, card)
    if json_to == STDOUT:
        _write(json_to, found, card)
    counts = Counter(finding.outcome for finding in found)
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items()), err=True)
    if counts["fails"]:
        sys.exit(1)


def _card(*, small: bool) -> str:
    """The name of the card."""
    import torch

    if small:
        return "none"
    if not torch.cuda.is_available():
        msg = (
            "no NVIDIA card was found, on which this command tries hbo: run it on a machine that has one, with its driver "
            "installed; or give `--small`, which tries the command itself on a CPU."
        )
        raise click.ClickException(msg)
    return torch.cuda.get_device_name()


def _earlier(path: Path | None, card: str) -> list[Finding]:
    """What a file has of the same card."""
    if path is None or path == STDOUT or not path.exists() or not path.stat().st_size:
        return []
    content: dict[str, Any] = json.loads(path.read_text())
    return [Finding(**finding) for finding in content["findings"]] if content["card"]["name"] == card else []


@contextmanager
def _results(names: Sequence[str], out: Path | None, *, small: bool) -> Iterator[Iterator[list[Finding]]]:
    """Run the cases in their order, on a card one at a time; nothing of them goes on when this is closed."""
    running: set[subprocess.Popen[bytes]] = set()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    pool = ThreadPoolExecutor(AT_ONCE if small else 1)
    try:
        yield pool.map(lambda name: _run(name, out, running, small=small), names)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in [*running]:
            _end(process)
        signal.signal(signal.SIGTERM, before)


def _run(name: str, out: Path | None, running: set[subprocess.Popen[bytes]], *, small: bool) -> list[Finding]:
    """Run a case in its own process and folder, and stop it after its time."""
    with ExitStack() as stack:
        if out is None:
            # It holds gigabytes of models, and so goes with its case. Axolotl would take those in `tmpt...` for MPT models.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hbo-")))
        else:
            folder = out.absolute() / name
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        return _run_in(folder, name, running, small=small)


def _run_in(folder: Path, name: str, running: set[subprocess.Popen[bytes]], *, small: bool) -> list[Finding]:
    entry, file, log = CASES[name], folder / "findings.jsonl", folder / "output.log"
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2" if small else "1", "-m"]
    module = [*(launcher if entry.launched else []), "benchmarks.gpu.one_case"]
    command = [sys.executable, "-m", *module, name, str(folder), str(file), *(["--small"] if small else [])]
    limit, begun, why = entry.seconds * (SLOW if small else 1), time.monotonic(), ""
    click.echo(f"{name}: {entry.what}", err=True)
    with log.open("w") as output:
        # In a group of its own, so that whatever it starts ends with it.
        process = subprocess.Popen(  # noqa: S603 our own command
            command,
            cwd=ROOT,
            env=_environment(small=small),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        running.add(process)
        try:
            code = process.wait(limit)
            why = f"its process ended with {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = f"it was stopped after {limit} s"
        _end(process)
        running.discard(process)
    found = findings(file)
    if why or not found:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-TOLD:])
        found.append(Finding(name, "the case runs to its end", "fails", why=f"{why or 'it found nothing'}\n{last}"))
    return [*found, Finding(name, "the case as a whole", "shown", {"seconds": time.monotonic() - begun})]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(*, small: bool) -> dict[str, str]:
    # One card: of several, the Trainer would use all.
    card = "" if small else os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        **dict.fromkeys(offline, "1"),
        "WANDB_MODE": "disabled",
        "TOKENIZERS_PARALLELISM": "false",
        "AXOLOTL_DATASET_NUM_PROC": "0",
        "PYTHONPATH": paths,
        "CUDA_VISIBLE_DEVICES": card,
        **({"OMP_NUM_THREADS": "1"} if small else {}),
    }


def _write(path: Path | None, found: Sequence[Finding], card: str) -> None:
    if path is not None:
        content = {
            "findings": [asdict(finding) for finding in found],
            "card": _described(card),
            "environment": environment(),
        }
        write_json(path, content)


def _described(card: str) -> dict[str, Any]:
    """The card, its driver's CUDA, and the versions of all that a case may use; None where it is not installed."""
    import torch

    known: dict[str, Any] = {"name": card, "cuda": torch.version.cuda}
    if card != "none":
        properties = torch.cuda.get_device_properties(0)
        known |= {"memory_GB": properties.total_memory / 1e9, "capability": f"{properties.major}.{properties.minor}"}
    return {**known, "versions": {name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
