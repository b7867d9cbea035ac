"""Names: what an entry of `datasets:` or `test_datasets:` is called, and how metrics write it."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from hbo_plugin.data.held_out import TARGET

_LONGEST = 120
"""Bytes of a name in metrics, which are names of files in some loggers: 255 is the limit, and hbo adds to them."""
_NO_CHARACTERS = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is no part of a line: control characters, halves of characters, ends of lines."""
_SUFFIXES = (".gz", ".zst", ".jsonl", ".json", ".parquet", ".arrow", ".csv", ".txt")


def entry_names(entries: Iterable[Mapping[str, Any]], given: list[str] | None = None) -> list[str]:
    """One name for each entry, all different: the given ones, or the last part of each path.

    Where paths end alike, what tells the entries apart is added: their folders, files, configuration or split.

    Raises:
        ValueError: there are more or fewer given names than entries, or one of them cannot be a name.
    """
    entries = list(entries)
    if given:
        _check(given, len(entries))
        return list(given)
    names = [_stem(str(entry["path"])) for entry in entries]
    for base in set(names):
        alike = [index for index, name in enumerate(names) if name == base]
        if len(alike) > 1:
            for index, name in zip(alike, _told_apart(base, [entries[index] for index in alike]), strict=True):
                names[index] = name
    return _unlike(names, key=str)


def metric_names(names: Iterable[str]) -> dict[str, str]:
    """How metrics write each name: in characters that are safe in every logger, and unlike every other.

    Some loggers keep metrics in files and folders, on disks that may ignore case, and the Trainer writes `_` to mlflow
    for what is not ASCII. A name that needs no change keeps it before one that does.
    """
    safe = {name: _safe(name) or "data" for name in dict.fromkeys(names)}
    kept_first = sorted(safe, key=lambda name: safe[name] != name)
    unlike = _unlike([safe[name] for name in kept_first], key=_in_files, taken=[TARGET])
    return dict(zip(kept_first, unlike, strict=True))


def is_name(text: str) -> bool:
    """Whether a text can name a dataset: it is on one line, without a space at its ends."""
    return bool(text) and text == text.strip() and not any(category(each) in _NO_CHARACTERS for each in text)


def _in_files(name: str) -> str:
    """What two names must differ in."""
    return re.sub(r"[^0-9A-Za-z._-]", "_", name).lower()


def _check(given: Sequence[str], entries: int) -> None:
    if len(given) != entries:
        msg = f"`hbo.names` has {len(given)} names and `datasets:` has {entries} entries; give one name to each entry."
        raise ValueError(msg)
    for index, name in enumerate(given):
        if not is_name(name):
            msg = (
                f"`hbo.names` has the name {name!r}, but a name is text on one line, without a space at its ends; "
                f"rename it."
            )
            raise ValueError(msg)
        if name in given[:index]:
            msg = f"`hbo.names` has the name `{name}` twice; give every dataset a name of its own."
            raise ValueError(msg)


def _stem(path: str) -> str:
    name = Path(path).name
    if name in {"", ".."}:  # as of `.` and `/`
        name = Path(path).resolve().name
    while name.endswith(_SUFFIXES) and Path(name).stem != name:
        name = Path(name).stem
    return _safe(name) or "data"


def _safe(text: str) -> str:
    """Letters and digits of any script, dots, dashes and underscores; not too many."""
    safe = re.sub(r"[^\w.-]+", "-", normalize("NFC", text)).strip("-.")
    return safe.encode()[:_LONGEST].decode(errors="ignore").strip("-.")


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
    return sum(1 for _ in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))


def _files(data_files: Any) -> str:
    """The stems of `data_files`, whose value is a path, a list of paths, or lists by split."""
    if data_files is None:
        return ""
    if isinstance(data_files, Mapping):
        data_files = list(data_files.values())
    return _stem(data_files) if isinstance(data_files, str) else "-".join(map(_files, data_files))


def _unlike(names: Sequence[str], key: Callable[[str], str], taken: Iterable[str] = ()) -> list[str]:
    """The names, with a number behind those whose key came before or is taken."""
    keys = set(map(key, taken))
    unlike = []
    for name in names:
        numbered = (f"{name}-{count}" if count > 1 else name for count in itertools.count(1))
        unlike.append(next(each for each in numbered if key(each) not in keys))
        keys.add(key(unlike[-1]))
    return unlike
