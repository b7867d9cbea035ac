"""Prepared rows: one entry's rows as Axolotl tokenises them, kept on disk, and made again when what they came from changed."""

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from hbo_plugin import compat, compat_rows
from hbo_plugin.data import rows as tokenised
from hbo_plugin.data.entries import Entries
from hbo_plugin.data.files import files_in
from hbo_plugin.data.row_kinds import ROW_KINDS
from hbo_plugin.kinds import kind_of
from hbo_plugin.numbers import RAW_ROW, RowError

LOG = logging.getLogger(__name__)

_ABOUT = "hbo.json"
_COUNTS = "tokens.npy"


@dataclass(frozen=True)
class Prepared:
    """One entry's rows.

    Attributes:
        files: Arrow files that hold them, in Axolotl's order.
        lengths: tokens of each row, int32[rows].
        trained: tokens of each that the model learns to predict, int32[rows].
        digest: of the rows.
        raw_rows: how many rows they were made of.
        version: of the data that they were made of, as the library that loads them knows it.
    """

    files: tuple[Path, ...]
    lengths: NDArray[np.int32]
    trained: NDArray[np.int32]
    digest: str
    raw_rows: int
    version: str = ""

    @cached_property
    def raw_row(self) -> NDArray[np.int64] | None:
        """The raw row that each row was made of, int64[rows]; None where Axolotl invented the rows or does not tell.

        Raw rows are counted from 0, in the data as Axolotl loads them: before any shuffling, taking of a part or dropping.
        """
        if RAW_ROW not in self.rows.column_names:
            return None
        return np.asarray(self.rows.data.column(RAW_ROW), dtype=np.int64)

    @cached_property
    def rows(self) -> Dataset:
        """The rows, with all their columns."""
        return concatenate_datasets([Dataset.from_file(str(file)) for file in self.files])


class Preparer:
    """Prepares entries one at a time, so that the cache of one does not depend on the rest of the mixture."""

    def __init__(self, entries: Entries, tokenizer: Any) -> None:
        """Nothing is loaded yet; the tokenizer is that of the run."""
        self._entries = entries
        self._tokenizer = tokenizer
        cfg = entries.cfg
        self._kind = ROW_KINDS[kind_of(cfg).rows]
        self._settings = {key: value for key in compat.PREPARING if (value := cfg.get(key)) is not None}

    def load(self, name: str, entry: Any, *, split: str, versions: Collection[str] = ()) -> Prepared:
        """The rows of an entry of `datasets:` or `test_datasets:`.

        Args:
            name: of the entry, for messages.
            entry: as configured.
            split: `train` or `test`.
            versions: of the data on a hub, in which columns of these rows were read.

        Raises:
            ValueError: the rows cannot be prepared, or are of another version; names the dataset.
        """
        stamp = json.dumps([entry, split, self._settings, RAW_ROW], sort_keys=True, default=str)
        folder = self._entries.folder / hashlib.blake2b(stamp.encode(), digest_size=8).hexdigest()
        sources = self._sources(entry)
        # `axolotl preprocess` prepares anew, for data on a hub that may have changed.
        found = None if self._entries.cfg.is_preprocess else _read(folder, sources, versions, name)
        rows = found or self._prepare(folder, sources, name, entry, split)
        if {*versions} - {rows.version}:
            msg = (
                f"dataset `{name}` changed on its hub after a column of it was read; run `axolotl preprocess`, which reads "
                f"and prepares it anew."
            )
            raise ValueError(msg)
        return rows

    def _prepare(self, folder: Path, sources: Mapping[str, str], name: str, entry: Any, split: str) -> Prepared:
        """Prepare in a folder aside, which gets its name when it is whole: a kill or a full disk leaves nothing to read."""
        draft = folder.with_name(f"{folder.name}.unfinished")
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        except OSError as error:
            msg = f"dataset `{name}` has no prepared rows in `{folder}`, which cannot be written ({error}); make it writable."
            raise ValueError(msg) from error
        made, raw_rows, version = self._tokenise(draft, name, entry, split)
        rows = self._kind.typed(made)
        # Axolotl has not saved these rows where it found them on a hub, took a shard, or made other types than `typed`.
        if rows is not made or self._entries.cfg.dataset_shard_num or not any(draft.iterdir()):
            shutil.rmtree(draft)
            rows.save_to_disk(str(draft / "rows"))
        np.save(draft / _COUNTS, self._kind.counts(rows, self._tokenizer))
        about = {
            "sources": sources,
            "files": {str(file.relative_to(draft)): file.stat().st_size for file in files_in(draft)},
            "digest": self._kind.digest(rows),
            "raw_rows": raw_rows,
            "version": version,
        }
        (draft / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        return _open(folder, about)

    def _tokenise(self, draft: Path, name: str, entry: Any, split: str) -> tuple[Dataset, int, str]:
        """The tokenised rows, how many rows they were made of, and of which version of the data."""
        alone = self._entries.alone(entry, split)
        alone["dataset_prepared_path"] = str(draft)
        try:
            with compat_rows.watching_rows(alone, split, tokenised.check) as parts:
                rows = compat_rows.load_entry(self._tokenizer, alone, split)
            self._kind.check(rows)
            raw_rows = sum(len(part.rows) for part in parts)
            return rows, raw_rows or len(rows), " ".join(part.version for part in parts)
        except (RowError, tokenised.TokenError) as error:
            msg = f"dataset `{name}`: {error}."
            raise ValueError(msg) from error
        except Exception as error:
            msg = f"dataset `{name}` cannot be prepared; Axolotl says `{type(error).__name__}: {error}`."
            raise ValueError(msg) from error

    def _sources(self, entry: Any) -> dict[str, str]:
        """What the rows are made of beside the configuration: files, tokenizer and Axolotl, by their digests."""
        return {
            **self._entries.digests(entry),
            "the tokenizer": self._tokenizer_digest,
            "Axolotl": compat.axolotl_version(),
        }

    @cached_property
    def _tokenizer_digest(self) -> str:
        return tokenizer_digest(self._tokenizer)


def tokenizer_digest(tokenizer: Any) -> str:
    """Of the files that a tokenizer saves as: vocabulary, special and added tokens, chat template."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        digest = hashlib.blake2b(digest_size=16)
        for file in files_in(Path(folder)):
            # Whether a hub could be asked stands there too, and changes no row.
            content = re.sub(rb'"local_files_only": \w+', b"", file.read_bytes())
            digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _read(folder: Path, sources: Mapping[str, str], versions: Collection[str], name: str) -> Prepared | None:
    """The rows in a folder; None with a warning where they are damaged or were made of something else."""
    if not folder.exists():
        return None
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        before = about["sources"]
        changed = [what for what in {**before, **sources} if before.get(what) != sources.get(what)]
        if {*versions} - {about["version"]}:
            changed.append("the data on the hub")
        whole = all((folder / file).stat().st_size == size for file, size in about["files"].items())
        if whole and not changed:
            return _open(folder, about)
        reason = f"{' and '.join(changed[:3])} changed" if changed else "they are damaged"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"they are damaged ({error!r})"
    LOG.warning("hbo: the rows of dataset `%s` are prepared anew in `%s`, because %s", name, folder, reason)
    return None


def _open(folder: Path, about: Mapping[str, Any]) -> Prepared:
    files = tuple(folder / file for file in about["files"] if Path(file).match("data-*.arrow"))
    lengths, trained = np.load(folder / _COUNTS)
    return Prepared(files, lengths, trained, str(about["digest"]), int(about["raw_rows"]), str(about["version"]))
