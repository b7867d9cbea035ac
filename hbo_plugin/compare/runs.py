"""The runs of a comparison: their folders, how each is trained, and which are finished."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hbo_plugin.trace import TRACE_FILE, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hbo_plugin.compare.arms import Arm
    from hbo_plugin.history import History

CONFIG_FILE = "config.yml"
LOG_FILE = "log.txt"
_LOCK_FILE = "lock"
_NOT_OF_A_TRIAL = ("hub_model_id", "push_dataset_to_hub", "resume_from_checkpoint")
"""Keys of the user's configuration that none of the runs may have."""
_LOOK_EVERY = 1.0
"""Seconds between two looks at a run that may be given up."""
_WEIGHTS = ("checkpoint-*", "*.safetensors", "*.bin")


@dataclass(frozen=True)
class PlannedRun:
    """One run: an arm with a seed, in a folder of its own.

    Attributes:
        arm: how it trains.
        seed: of the run.
        folder: its `output_dir`.
        replayed: the folder of the run whose weights a control draws by; None for every other.
    """

    arm: Arm
    seed: int
    folder: Path
    replayed: Path | None

    @property
    def name(self) -> str:
        """As `--only` takes it."""
        return self.folder.name

    @property
    def ready(self) -> bool:
        """Whether it can train: a control needs the run that it replays."""
        return self.replayed is None or is_finished(self.replayed)

    @property
    def traced(self) -> Path:
        """The folder of the trace that has its losses."""
        return self.folder

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return is_finished(self.traced)

    def history(self) -> History | None:
        """Return what it has come to; None where it has not begun."""
        trace = Trace(self.traced / TRACE_FILE)
        return trace.history() if next(iter(trace.records()), None) else None

    def write_config(self, base: Mapping[str, Any]) -> Path:
        """Write what `axolotl train` gets with hbo, and return its path.

        Raises:
            ValueError: the folder belongs to another run.
        """
        block = self.arm.made(self.replayed and self.replayed / TRACE_FILE)
        # The stream follows the seed of the run.
        return self._write(self.folder, {**base, "hbo": {key: value for key, value in block.items() if key != "seed"}})

    def train(self, start: Callable[..., bool], config: Path) -> bool:
        """Train, or go on.

        Args:
            start: `axolotl train` on a configuration, with options; returns whether it ended well.
            config: what `write_config` returned.
        """
        return start(config)

    def _write(self, folder: Path, keys: Mapping[str, Any]) -> Path:
        """Write a configuration of these keys into its `output_dir`; see `write_config`."""
        config = {
            **{key: value for key, value in keys.items() if key not in _NOT_OF_A_TRIAL},
            "seed": self.seed,
            "output_dir": str(folder),
            "auto_resume_from_checkpoints": True,
        }
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        path = folder / CONFIG_FILE
        found = path.read_text(encoding="utf-8") if path.exists() else None
        if found not in {None, text} or (found is None and (folder / TRACE_FILE).exists()):
            msg = (
                f"`{self.folder}` holds a run with another configuration; give another `--out`, or remove the folder to make "
                f"the run again."
            )
            raise ValueError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def planned(arms: Sequence[Arm], seeds: Sequence[int], out: Path) -> list[PlannedRun]:
    """Return all runs, seed by seed, so that the first seeds can be compared before the last are there."""
    folders = {arm.name: arm.folder for arm in arms}
    return [
        PlannedRun(
            arm, seed, out / f"{arm.folder}.{seed}", out / f"{folders[arm.replays]}.{seed}" if arm.replays else None
        )
        for seed in seeds
        for arm in arms
    ]


def is_finished(folder: Path) -> bool:
    """Whether the run of a folder has ended."""
    last = Trace(folder / TRACE_FILE).last()
    return last is not None and last["event"] == "end"


@dataclass(frozen=True)
class Launch:
    """How runs are started.

    Attributes:
        launcher: as `axolotl train --launcher` takes it.
        arguments: of the launcher.
        environment: of the processes.
        keep_models: whether trained weights stay when a run has ended.
        hopeless: whether a run is worth no more of its steps, and is ended; None where none is.
    """

    launcher: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    keep_models: bool
    hopeless: Callable[[PlannedRun], bool] | None = None

    def gives_up(self, run: PlannedRun) -> bool:
        """Whether a run is hopeless by now."""
        return self.hopeless is not None and self.hopeless(run)

    def train(self, run: PlannedRun, config: Path, card: str | None) -> bool | None:
        """Train a run, or go on with it, and return whether it ended well; None where another process is at it.

        Args:
            run: its folder is there.
            config: what its `write_config` returned.
            card: the number of the only GPU that it may see; None leaves all to it.
        """
        visible = {} if card is None else {"CUDA_VISIBLE_DEVICES": card}
        # Axolotl looks for the launcher there, also where its environment is not activated.
        path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), self.environment.get("PATH")]))
        environment = {**self.environment, "PATH": path, **visible}
        with locked(run.folder) as lock:
            if lock is None:
                return None
            if run.finished:
                return True  # by another process, since the list of runs was made
            with (run.folder / LOG_FILE).open("ab") as log:

                def start(config: Path, *options: str) -> bool:
                    # The lock goes to the run too, which may outlive this process.
                    process = subprocess.Popen(  # noqa: S603 the words of the command are the user's own
                        self._command(config, *options),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=environment,
                        pass_fds=[lock],
                    )
                    while process.poll() is None:
                        with suppress(subprocess.TimeoutExpired):
                            process.wait(_LOOK_EVERY)
                        if self.gives_up(run):
                            _end(process.pid)
                    return process.returncode == 0

                finished = run.train(start, config) and run.finished
            if finished and not self.keep_models:
                remove_weights(run.folder)
            return finished

    def _command(self, config: Path, *options: str) -> list[str]:
        command = [sys.executable, "-m", "axolotl.cli.main", "train", str(config), "--launcher", self.launcher]
        return [*command, *options, *(["--", *self.arguments] if self.arguments else [])]


@contextmanager
def locked(folder: Path) -> Iterator[int | None]:
    """The descriptor of a run's lock, which the system lets go when the last process that has it ends; None where it is taken."""
    with (folder / _LOCK_FILE).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield file.fileno()


def _end(pid: int) -> None:
    """End a launcher and all that it has started, which it may leave behind."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        launcher = psutil.Process(pid)
        for process in [*launcher.children(recursive=True), launcher]:
            with suppress(psutil.NoSuchProcess):
                process.terminate()


def remove_weights(folder: Path) -> None:
    """Remove what a run has trained, checkpoints and all."""
    for pattern in _WEIGHTS:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
