"""Names: what an entry of `datasets:` or `test_datasets:` is called where the user gave it no name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".arrow", ".csv", ".txt")


def entry_names(entries: Iterable[Mapping[str, Any]], given: list[str] | None = None) -> list[str]:
    """One name for each entry, all different: the given ones, or the last part of each path.

    Where paths end alike, what tells the entries apart is added: their folders, files, configuration or split.

    Raises:
        ValueError: as many names were given as there are no entries.
    """
    entries = list(entries)
    if given:
        if len(given) != len(entries):
            msg = f"`hbo.names` has {len(given)} names and `datasets:` has {len(entries)} entries; give one name to each entry."
            raise ValueError(msg)
        return list(given)
    names = [_stem(str(entry["path"])) for entry in entries]
    for base in set(names):
        alike = [index for index, name in enumerate(names) if name == base]
        if len(alike) > 1:
            for index, name in zip(alike, _told_apart(base, [entries[index] for index in alike]), strict=True):
                names[index] = name
    return _numbered(names)


def _stem(path: str) -> str:
    name = Path(path).name
    if name in {"", ".."}:  # as of `.` and `/`
        name = Path(path).resolve().name
    while name.endswith(_SUFFIXES) and Path(name).stem != name:
        name = Path(name).stem
    return _safe(name) or "data"


def _safe(text: str) -> str:
    """Letters and digits of any script, dots, dashes and underscores."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def _told_apart(base: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of entries whose paths end alike; equal ones only where the entries differ in nothing known here."""
    files = [_files(entry.get("data_files")) for entry in entries]
    stems = files if len(set(files)) > 1 else [base] * len(entries)
    others = [_folders([str(entry["path"]) for entry in entries])]
    others += [[str(entry.get(key) or "") for entry in entries] for key in ("name", "split")]
    folders, *rest = (column if len(set(column)) > 1 else [""] * len(entries) for column in others)
    return [_safe("-".join(filter(None, parts))) or base for parts in zip(folders, stems, *rest, strict=True)]


def _folders(paths: Sequence[str]) -> list[str]:
    """The folders of each path, without those that all begin or end with."""
    folders = [Path(path).parent.parts for path in paths]
    first = _alike(folders)
    last = _alike([folder[first:][::-1] for folder in folders])
    return ["-".join(folder[first : len(folder) - last]) for folder in folders]


def _alike(folders: Sequence[Sequence[str]]) -> int:
    """The number of parts that all begin with."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))


def _files(data_files: Any) -> str:
    """The stems of `data_files`, whose value is a path, a list of paths, or lists by split."""
    if data_files is None:
        return ""
    if isinstance(data_files, Mapping):
        data_files = list(data_files.values())
    return _stem(data_files) if isinstance(data_files, str) else "-".join(map(_files, data_files))


def _numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that came before."""
    unique: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in unique:
            count += 1
            candidate = f"{name}-{count}"
        unique.append(candidate)
    return unique
