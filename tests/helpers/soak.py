"""The soak: real runs, killed at random moments and resumed until they end, against runs that were never killed."""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, zip_longest
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml
from rich.progress import Progress
from runs import Config, history, lines, read_trace, save_tiny_model, short_run

from hbo_plugin.training import state_file

STEPS, SAVE_STEPS = 60, 4
KILLS_A_RUN = 8
KINDS: dict[str, Config] = {
    "unpacked": {},
    "packed": {"sample_packing": True, "sequence_len": 256, "pad_to_sequence_len": True},
}

# Processes of their own, with all that they import in place: else most of a soak would be importing.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["axolotl.cli.main", "axolotl.cli.train", "axolotl.core.builders", "hbo_plugin.training.run"]
)


def checkpoints(folder: Path) -> dict[int, Path]:
    """The folder of every checkpoint, by step."""
    return {int(path.name.rsplit("-", 1)[1]): path for path in folder.glob("checkpoint-*")}


def written(folder: Path) -> int:
    """Steps of which a run has recorded the rows."""
    rows = folder / "hbo_rows.jsonl"
    return rows.read_bytes().count(b"\n") if rows.exists() else 0


def moment(folder: Path, rng: random.Random) -> tuple[Callable[[], bool], float]:
    """A random moment of a run that is about to go on: what to wait for, and the seconds to wait from there."""
    kind = rng.choice(["starting", *["training"] * 5, *["saving"] * 4])
    if kind == "starting":
        return lambda: True, rng.uniform(0, 4)
    if kind == "saving":
        step = max(checkpoints(folder), default=0) + SAVE_STEPS
        return (folder / f"checkpoint-{step}").exists, rng.uniform(0, 0.05)
    # More steps than are written: the run first drops those that came after its checkpoint.
    step = min(written(folder) + rng.randint(1, 12), STEPS)
    return lambda: written(folder) >= step, rng.uniform(0, 0.3)


def kill(run: BaseProcess, come: Callable[[], bool], seconds: float) -> bool:
    """Kill a run at a moment; false if it ended before."""
    while not come() and run.is_alive():
        time.sleep(0.001)
    time.sleep(seconds)
    run.kill()
    run.join()
    return run.exitcode == -signal.SIGKILL


def start(config: Config) -> BaseProcess:
    """`axolotl train` as a process of its own; what it says is beside its output folder."""
    folder = Path(config["output_dir"])
    folder.with_suffix(".yml").write_text(yaml.safe_dump(config))
    run = PROCESSES.Process(target=axolotl_train, args=(folder,))
    run.start()
    return run


def axolotl_train(folder: Path) -> None:
    """The command, in the process that `start` made for it."""
    from axolotl.cli.main import cli

    os.chdir(folder.parent)
    log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    cli(["train", f"{folder.name}.yml", "--launcher", "python"])


def finish(run: BaseProcess, folder: Path) -> None:
    """Wait for the end of a run; one that fails ends the soak with all that it said."""
    run.join()
    if run.exitcode != 0:
        sys.exit(f"{folder.with_suffix('.log').read_text()}\nA run failed with status {run.exitcode}.")


def differences(folder: Path, whole: Path) -> Counter[str]:
    """How many rows, weights and losses of two runs differ, or are in one of them alone."""

    def rows(folder: Path) -> Iterator[Any]:
        for record in lines(folder / "hbo_rows.jsonl"):
            yield from record["rows"]

    def weights(folder: Path) -> Iterator[Any]:
        for record in read_trace(folder):
            for name, levels in record["weights"].items():
                yield from ((record["event"], record["step"], name, weight) for weight in levels)

    def losses(folder: Path) -> Iterator[Any]:
        yield from history(folder, "loss").items()
        yield from history(folder, "grad_norm").items()

    return Counter(
        {
            read.__name__: sum(one != other for one, other in zip_longest(read(folder), read(whole)))
            for read in (rows, weights, losses)
        }
    )


def soak(kills: int, seed: int, work: Path) -> tuple[Counter[str], int]:
    """Kill runs so many times in all.

    Returns:
        The differences, and how many kills left an incomplete checkpoint.
    """
    rng = random.Random(seed)  # noqa: S311 moments are no secrets
    model = save_tiny_model(work / "model")
    found: Counter[str] = Counter()
    incomplete = done = 0
    kinds = cycle(KINDS)
    with Progress() as progress:
        bar = progress.add_task("kills", total=kills)
        while done < kills:
            kind = next(kinds)
            whole, died = work / kind, work / f"{kind}-died"
            changes = {"max_steps": STEPS, "save_steps": SAVE_STEPS, "save_total_limit": 2, **KINDS[kind]}
            config = short_run(model, work / "corpus", whole, **changes)
            if not whole.exists():
                finish(start(config), whole)
            shutil.rmtree(died, ignore_errors=True)
            config |= {"output_dir": str(died), "auto_resume_from_checkpoints": True}
            left = min(KILLS_A_RUN, (kills + 1) // 2, kills - done)
            while True:
                incomplete += bool(state_file.newest_checkpoints(died)[1])
                waited = moment(died, rng)
                run = start(config)
                if left == 0 or not kill(run, *waited):
                    finish(run, died)
                    break
                left -= 1
                done += 1
                progress.advance(bar)
            found += differences(died, whole)
    return found, incomplete


def main() -> int:
    """Print what differed; 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    # The second: a killed process leaves semaphores, of which Python would tell after all else.
    os.environ.update(OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore:resource_tracker:UserWarning")
    with tempfile.TemporaryDirectory() as work:
        found, incomplete = soak(given.kills, given.seed, Path(work))
    sys.stdout.write(
        f"{incomplete} of the kills left an incomplete checkpoint, from before which the run went on\n"
        f"{given.kills} kills: {found['rows']} rows, {found['weights']} weights, {found['losses']} losses differing\n"
    )
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
