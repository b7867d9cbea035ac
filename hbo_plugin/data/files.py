"""Files: what a file holds, as a digest that is computed again only when the file's size or time changed."""

import hashlib
import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

LOG = logging.getLogger(__name__)


class FileDigests:
    """Digests of files, kept in a file of their own."""

    def __init__(self, path: Path) -> None:
        """Read what is known; a damaged file counts as empty."""
        self._path = path
        self._known: dict[str, list[int | str]] = {}
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
                self._known = {
                    name: [int(size), int(time), str(digest)] for name, (size, time, digest) in known.items()
                }
            except (ValueError, TypeError, AttributeError):
                LOG.warning("hbo: `%s` is damaged; the digests of the files are computed again", path)

    def of(self, files: Iterable[Path]) -> dict[str, str]:
        """The digest of each file, by its path as given."""
        found = {str(file): self._digest(file.resolve()) for file in files}
        return dict(sorted(found.items()))

    def _digest(self, file: Path) -> str:
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        known = self._known.get(str(file), [])
        if known[:2] == stamp:
            return str(known[2])
        digest = hashlib.blake2b(digest_size=16)
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
        self._known[str(file)] = [*stamp, digest.hexdigest()]
        with suppress(OSError):  # a folder that cannot be written costs time and nothing else
            write_whole(self._path, json.dumps(self._known).encode())
        return digest.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another process may write it too, even on another machine.
    draft = path.with_name(f"{path.name}.{uuid4().hex}.writing")
    draft.write_bytes(content)
    draft.replace(path)


def files_in(folder: Path) -> list[Path]:
    """Every file in a folder and in the folders in it, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
