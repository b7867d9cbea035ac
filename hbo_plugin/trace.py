"""The files of JSON lines that a run writes: its trace, its costs, and the rows that were drawn."""

from __future__ import annotations

import json
import logging
from os import SEEK_END
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from hbo_plugin.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG = logging.getLogger(__name__)

TRACE_FILE = "hbo_trace.jsonl"
"""In the output folder: one line for the start, each update, each evaluation and the end."""

ROWS_FILE = "hbo_rows.jsonl"
"""In the output folder with `record_rows: true`: a line for each step, with its rows. `drawn_rows` reads them."""


COSTS_FILE = "hbo_costs.jsonl"
"""In the output folder: a line for each of the trace, with the seconds that hbo took so far."""


_BLOCK = 1 << 16
"""Bytes that are read at once, from the end of a file."""


class JsonLines:
    """A file of JSON objects, one a line, each with the optimizer `step` it was written at."""

    header: ClassVar[bytes] = b""
    """The first line with its end, where a file has one."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet."""
        self._path = path
        self._lost = 0
        self._unreported = 0

    def append(self, record: dict[str, Any]) -> None:
        """Add a line. Where the disk refuses it, warn; the next line that is written says how many were `lost`."""
        line = {**record, "lost": self._unreported} if self._unreported else record
        try:
            self._write(_encoded(line))
        except OSError as error:
            self._lost += 1
            self._unreported += 1
            LOG.warning(
                "hbo: a line of `%s` could not be written at step %d (%s); the training goes on without it (%d lost).",
                self._path,
                record["step"],
                error.strerror,
                self._lost,
            )
        else:
            self._unreported = 0

    def _write(self, line: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                file.truncate(end)  # part of a line would spoil the next
                raise

    def begin(self, step: int) -> None:
        """Start an empty file at step 0; later, drop what was written after `step`: a killed run may have passed it.

        Raises:
            ValueError: the file cannot be written, or no run of this version wrote it.
        """
        records = self.records() if step else ()
        # A run that was killed after its last line ends again. As bytes: as numbers, the rows of a long run are many times as large.
        kept = [_encoded(each) for each in records if each["step"] <= step and each.get("event") != "end"]
        draft = self._path.with_suffix(".writing")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(self.header + b"".join(kept))
            draft.replace(self._path)
        except OSError as error:
            msg = (
                f"`{self._path}` cannot be written ({error.strerror}): make room, or give an `output_dir` "
                f"that this user may write to."
            )
            raise ValueError(msg) from error

    def clear(self) -> None:
        """Remove the file of an earlier run."""
        self._path.unlink(missing_ok=True)

    def read(self) -> list[dict[str, Any]]:
        """Return all records at once; see `records`."""
        return [*self.records()]

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield each record; none where there is no file. A last line that a kill cut short is left out.

        Raises:
            ValueError: no run of this version wrote the file.
        """
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            self._check_header(file)
            for number, line in enumerate(file, 1 + self.header.count(b"\n")):
                if line.endswith(b"\n"):
                    yield self._record(number, line)

    def last(self) -> dict[str, Any] | None:
        """Return the last record, for which no other is read; None where `records` yields none.

        Raises:
            ValueError: no run of this version wrote the file.
        """
        if not self._path.exists():
            return None
        with self._path.open("rb") as file:
            self._check_header(file)
            first, begin, tail = file.tell(), file.seek(0, SEEK_END), b""
            # As in `records`, a line without its end does not count.
            while begin > first and tail[: tail.rfind(b"\n")].count(b"\n") < 1:
                end, begin = begin, max(first, begin - _BLOCK)
                file.seek(begin)
                tail = file.read(end - begin) + tail
        lines = tail.split(b"\n")[:-1]
        return self._record(-1, lines[-1]) if lines else None

    def _check_header(self, file: BinaryIO) -> None:
        """Read the first line of a file that has one."""
        first = file.readline() if self.header else b""
        if first != self.header:
            found = first.rstrip(b"\n")[:40].decode(errors="replace")
            msg = (
                f"`{self._path}` begins with `{found}`, but this version of hbo reads files that begin with "
                f"`{self.header.decode().strip()}`: use the version that wrote it, or move the file away."
            )
            raise ValueError(msg)

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            msg = f"line {number} of `{self._path}` is not as hbo wrote it: restore the file, or move it away."
            raise ValueError(msg)
        return record


class Trace(JsonLines):
    """The trace of a run: its mixture at the start, after each update and at the end, and its held-out losses."""

    header = b'{"hbo_trace": 1}\n'
    """The version of the records. A change that an older reader would misread is a new version."""

    def history(self) -> History:
        """Return the run that the trace records, finished or not.

        Raises:
            ValueError: there is no such file, it holds no record, or no run of this version wrote it.
        """
        try:
            history = History.of(self.read())
        except KeyError as error:
            msg = f"`{self._path}` has a line without `{error.args[0]}`: restore the file, or move it away."
            raise ValueError(msg) from error
        if not history.states:
            found = "holds no step yet" if self._path.exists() else "does not exist"
            msg = (
                f"`{self._path}` {found}; a run with `hbo:` writes it from the start of its training: "
                f"choose such a run."
            )
            raise ValueError(msg)
        return history


def costs(folder: Path) -> tuple[dict[str, float], float] | None:
    """Return what each part of hbo took of a run so far, and its whole training; seconds. None where nothing was written.

    Raises:
        ValueError: no run of this version wrote the file.
    """
    told = JsonLines(folder / COSTS_FILE).read()
    return (told[-1]["seconds"], told[-1]["elapsed"]) if told else None


def _encoded(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"
