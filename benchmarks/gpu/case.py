"""A case of the acceptance run: where it works, and what it found, which is on disk as soon as it is known."""

from __future__ import annotations

import json
import os
import traceback
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST = 4000
"""Characters of a traceback, of which the last say most."""

Outcome = Literal["holds", "fails", "shown", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        case: name of the case.
        what: in words; where there is a bound, what should hold.
        outcome: `shown` where there is no bound, or none in the small form.
        numbers: that were measured, with their units in their names.
        why: it was skipped, or the traceback of the error that came instead.
    """

    case: str
    what: str
    outcome: Outcome
    numbers: dict[str, float] = field(default_factory=dict)
    why: str = ""

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return "; ".join(filter(None, [f"  {self.outcome:8}{self.case}: {self.what}", numbers, self.why]))


@dataclass(frozen=True)
class Case:
    """Attributes: its name, a folder for models, rows and runs, the small form or not, and the file of its findings."""

    name: str
    folder: Path
    small: bool
    file: Path

    @property
    def device(self) -> str:
        """The type of the device that is looked at."""
        return "cpu" if self.small else "cuda"

    def expect(self, what: str, *, holds: bool, resources: bool = False, **numbers: float) -> None:
        """Note whether something holds; `resources` marks a bound on time or memory, which the small form leaves out."""
        left_out = resources and self.small
        self._note(Finding(self.name, what, "shown" if left_out else "holds" if holds else "fails", numbers))

    def show(self, what: str, **numbers: float) -> None:
        """Note what was measured and has no bound."""
        self._note(Finding(self.name, what, "shown", numbers))

    def skip(self, what: str, why: str) -> None:
        """Note what this machine cannot do."""
        self._note(Finding(self.name, what, "skipped", why=why))

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Note an error of the block as a failure, and go on with what comes after it."""
        try:
            yield
        except Exception:  # noqa: BLE001 whatever it is, it is what the run is for
            traceback.print_exc()
            self._note(Finding(self.name, what, "fails", why=traceback.format_exc()[-_LONGEST:]))

    def _note(self, finding: Finding) -> None:
        if os.environ.get("RANK", "0") != "0":
            return
        with self.file.open("a") as file:
            file.write(json.dumps(asdict(finding)) + "\n")


def findings(file: Path) -> list[Finding]:
    """What a file has; none where there is no file."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [Finding(**line) for line in lines]
