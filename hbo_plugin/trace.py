"""The trace: JSON lines that a resumed run continues where its checkpoint stood."""

import json
from pathlib import Path
from typing import Any

TRACE_FILE = "hbo_trace.jsonl"
"""In the output folder: one line an update, and one for the start, each evaluation and the end."""

ROWS_FILE = "hbo_rows.jsonl"
"""In the output folder with `record_rows: true`: the rows of each step."""


class Trace:
    """A file of JSON objects, one a line, each with the optimizer `step` it was written at."""

    def __init__(self, path: Path) -> None:
        """Nothing is written yet."""
        self._path = path

    def append(self, record: dict[str, Any]) -> None:
        """Add a line."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, step: int) -> None:
        """Drop what was written after `step`: a killed run may have gone on after its last checkpoint."""
        kept = [record for record in self.read() if record["step"] <= step]
        draft = self._path.with_suffix(".writing")
        draft.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        draft.replace(self._path)

    def clear(self) -> None:
        """Begin anew."""
        self._path.unlink(missing_ok=True)

    def read(self) -> list[dict[str, Any]]:
        """All records; a last line that a kill cut short is left out."""
        if not self._path.exists():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]
