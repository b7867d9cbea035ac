"""`python -m benchmarks.gpu.one_case NAME FOLDER FILE [--small]`: one case, in this process."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.gpu.case import Case
from benchmarks.gpu.cases import CASES


def main() -> None:
    """Run it; what it finds is appended to the file."""
    name, folder, file, *options = sys.argv[1:]
    case = Case(name, Path(folder), "--small" in options, Path(file))
    with case.attempt("the case as a whole"):
        CASES[name].load()(case)


if __name__ == "__main__":
    main()
