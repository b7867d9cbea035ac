"""The trace: JSON lines that a resumed run continues where its checkpoint stood."""

import json
import logging
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

TRACE_FILE = "hbo_trace.jsonl"
"""In the output folder: one line an update, and one for the start, each evaluation and the end."""

ROWS_FILE = "hbo_rows.jsonl"
"""In the output folder with `record_rows: true`: the rows of each step."""


class Trace:
    """A file of JSON objects, one a line, each with the optimizer `step` it was written at."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet."""
        self._path = path
        self._lost = 0
        self._unsaid = 0

    def append(self, record: dict[str, Any]) -> None:
        """Add a line; if the disk does not take it, warn, and let the next line that it takes tell how many it `lost`."""
        told = {**record, "lost": self._unsaid} if self._unsaid else record
        try:
            self._write(json.dumps(told) + "\n")
        except OSError as error:
            self._lost += 1
            self._unsaid += 1
            LOG.warning(
                "hbo: a line of `%s` could not be written at step %d (%s); the training goes on without it (%d lost).",
                self._path,
                record["step"],
                error.strerror,
                self._lost,
            )
        else:
            self._unsaid = 0

    def _write(self, line: str) -> None:
        with self._path.open("ab", buffering=0) as file:
            end = file.tell()
            content = line.encode()
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(end)  # part of a line would spoil the next
                raise

    def begin(self, step: int) -> None:
        """Begin anew at step 0; later, drop what was written after `step`: a killed run may have gone on after it.

        Raises:
            ValueError: the file cannot be written, or it holds what no run wrote.
        """
        records = self.read() if step else []
        # A run that was killed after its last line ends again.
        kept = [record for record in records if record["step"] <= step and record.get("event") != "end"]
        draft = self._path.with_suffix(".writing")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
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
        """All records; a last line that a kill cut short is left out.

        Raises:
            ValueError: a line that no run wrote.
        """
        if not self._path.exists():
            return []
        *lines, _ = self._path.read_bytes().split(b"\n")
        return [self._record(number, line) for number, line in enumerate(lines, 1)]

    def _record(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            msg = f"line {number} of `{self._path}` is not as hbo wrote it: restore the file, or move it away."
            raise ValueError(msg)
        return record
