"""Prepared rows: one entry's rows as Axolotl tokenises them, kept on disk, and made again when what they came from changed."""

import copy
import difflib
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from hbo_plugin import compat
from hbo_plugin.args import MODEL_SCORES
from hbo_plugin.data import rows as tokenised
from hbo_plugin.data.files import FileDigests

LOG = logging.getLogger(__name__)

COLUMN = "hbo_difficulty"
"""Carries a column of the user's data through Axolotl's tokenising."""

_ABOUT = "hbo.json"
_COUNTS = "tokens.npy"
_LISTS = ("datasets", "test_datasets")
_DATA = {
    ".arrow", ".bz2", ".csv", ".gz", ".json", ".jsonl", ".parquet", ".py", ".tar", ".tsv", ".txt", ".xz", ".zip", ".zst",
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """One entry's rows.

    Attributes:
        files: Arrow files that hold them, in Axolotl's order.
        lengths: tokens of each row, int32[rows].
        trained: tokens of each that the model learns to predict, int32[rows].
        digest: of the rows.
        raw_rows: how many rows they were made of.
    """

    files: tuple[Path, ...]
    lengths: NDArray[np.int32]
    trained: NDArray[np.int32]
    digest: str
    raw_rows: int

    @cached_property
    def raw_row(self) -> NDArray[np.int64] | None:
        """The raw row that each row was made of, int64[rows]; None where Axolotl invented the rows or does not tell.

        Raw rows are counted from 0, in the data as Axolotl loads them: before any shuffling, taking of a part or dropping.
        """
        if compat.RAW_ROW not in self.rows.column_names:
            return None
        return np.asarray(self.rows.data.column(compat.RAW_ROW), dtype=np.int64)

    @cached_property
    def rows(self) -> Dataset:
        """The rows, with all their columns."""
        return concatenate_datasets([Dataset.from_file(str(file)) for file in self.files])


class Preparer:
    """Prepares entries one at a time, so that the cache of one does not depend on the rest of the mixture."""

    def __init__(self, cfg: Any, tokenizer: Any, root: Path) -> None:
        """Nothing is loaded yet.

        Args:
            cfg: Axolotl's configuration.
            tokenizer: of the run.
            root: folder of the prepared rows.
        """
        self._cfg = cfg
        self._tokenizer = tokenizer
        self._root = root
        self._settings = {key: value for key in compat.PREPARING if (value := cfg.get(key)) is not None}
        self._axolotl = compat.axolotl_version()
        self.files = FileDigests(root / "digests.json")

    def load(self, name: str, entry: Any, *, split: str, column: str | None = None) -> Prepared:
        """The rows of an entry of `datasets:` or `test_datasets:`.

        Args:
            name: of the dataset or the held-out set, for messages.
            entry: as configured.
            split: `train` or `test`.
            column: of the raw rows, kept as `COLUMN`.

        Raises:
            ValueError: the rows cannot be prepared; names the dataset.
        """
        stamp = json.dumps([entry, column, compat.RAW_ROW, split, self._settings], sort_keys=True, default=str)
        folder = self._root / hashlib.blake2b(stamp.encode(), digest_size=8).hexdigest()
        sources = self._sources(entry)
        # `axolotl preprocess` prepares anew, for data on a hub that may have changed.
        found = None if self._cfg.is_preprocess else _read(folder, sources, name)
        return found or self._prepare(folder, sources, name, entry, split, column)

    def _prepare(
        self, folder: Path, sources: Mapping[str, str], name: str, entry: Any, split: str, column: str | None
    ) -> Prepared:
        """Prepare in a folder aside, which gets its name when it is whole: a kill or a full disk leaves nothing to read."""
        draft = folder.with_name(f"{folder.name}.unfinished")
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
        except OSError as error:
            msg = f"dataset `{name}` has no prepared rows in `{folder}`, which cannot be written ({error}); make it writable."
            raise ValueError(msg) from error
        made, raw_rows = self._tokenise(draft, name, entry, split, column)
        rows = tokenised.typed(made)
        if rows is not made or not any(draft.iterdir()):  # of other types than Axolotl saved, or found on a hub
            shutil.rmtree(draft)
            rows.save_to_disk(str(draft / "rows"))
        np.save(draft / _COUNTS, np.stack([tokenised.lengths(rows), tokenised.trained(rows)]))
        about = {
            "sources": sources,
            "files": {str(file.relative_to(draft)): file.stat().st_size for file in _files_in(draft)},
            "digest": tokenised.digest(rows),
            "raw_rows": raw_rows,
        }
        (draft / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
        return _open(folder, about)

    def _tokenise(self, draft: Path, name: str, entry: Any, split: str, column: str | None) -> tuple[Dataset, int]:
        """The tokenised rows, and how many rows they were made of."""
        alone = copy.deepcopy(self._shared)
        alone["datasets" if split == "train" else "test_datasets"] = [entry]
        alone["dataset_prepared_path"] = str(draft)
        try:
            with compat.watching_rows(split, column, COLUMN, tokenised.check) as counts:
                rows = compat.load_entry(self._tokenizer, alone, split)
            return rows, sum(counts) or len(rows)
        except compat.ColumnError as error:
            raise _no_column(str(column), name, error.args) from error
        except (compat.RowError, tokenised.TokenError) as error:
            msg = f"dataset `{name}`: {error}."
            raise ValueError(msg) from error
        except Exception as error:
            msg = f"dataset `{name}` cannot be prepared; Axolotl says `{type(error).__name__}: {error}`."
            raise ValueError(msg) from error

    @cached_property
    def _shared(self) -> Any:
        """The configuration without its lists of datasets, which may be long."""
        shared = type(self._cfg)({key: value for key, value in self._cfg.items() if key not in _LISTS})
        shared["val_set_size"] = 0.0
        # The order of the prepared rows must not depend on the run's seed, or its scores would be made anew for each;
        # and without any shuffling, Axolotl hands its saving workers an object that they cannot unpickle.
        shared["seed"] = 0
        shared["shuffle_merged_datasets"] = True
        return shared

    def _sources(self, entry: Any) -> dict[str, str]:
        """What the rows are made of beside the configuration: files, tokenizer and Axolotl, by their digests."""
        return {
            **self.files.of(self._local_files(entry)),
            "the tokenizer": self._tokenizer_digest,
            "Axolotl": self._axolotl,
        }

    def _local_files(self, entry: Any) -> list[Path]:
        """The files on this machine that an entry may be read from; none for an entry on a hub."""
        path = Path(entry["path"])
        if path.is_file():
            return [path]
        if not path.is_dir():
            return []
        if entry.get("data_files"):
            names = _flat(entry["data_files"])
            files = {file for name in names for file in (name, *glob(name))}  # noqa: PTH207 absolute patterns too
            return [Path(file) for file in files if Path(file).is_file()]
        # Not what this project and its runs write, where the path is the folder that holds them too.
        own = [Path(folder).resolve() for folder in (self._root.parent, self._cfg.output_dir) if folder]
        return sorted(
            file
            for file in _files_in(path)
            if file.suffix in _DATA
            and not file.name.startswith(("cache-", "."))
            and not any(folder in file.resolve().parents for folder in own)
        )

    @cached_property
    def _tokenizer_digest(self) -> str:
        """Of the files that the tokenizer saves as: vocabulary, special and added tokens, chat template."""
        with tempfile.TemporaryDirectory() as folder:
            self._tokenizer.save_pretrained(folder)
            digest = hashlib.blake2b(digest_size=16)
            for file in _files_in(Path(folder)):
                digest.update(f"{file.name} {file.stat().st_size} ".encode() + file.read_bytes())
        return digest.hexdigest()


def _read(folder: Path, sources: Mapping[str, str], name: str) -> Prepared | None:
    """The rows in a folder; None with a warning where they are damaged or were made of something else."""
    if not folder.exists():
        return None
    try:
        about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
        before = about["sources"]
        changed = [what for what in {**before, **sources} if before.get(what) != sources.get(what)]
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
    return Prepared(files, lengths, trained, str(about["digest"]), int(about["raw_rows"]))


def _no_column(column: str, name: str, present: Sequence[str]) -> ValueError:
    known = [*present, "length", *MODEL_SCORES]
    near = difflib.get_close_matches(column, known, n=1)
    return ValueError(
        f"`hbo.difficulty: {column}` is no column of dataset `{name}`, which has {', '.join(f'`{each}`' for each in present)}; "
        + (f"did you mean `{near[0]}`?" if near else "name one of them, or write length, loss, perplexity or ifd.")
    )


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _flat(value: Any) -> list[str]:
    """The paths in `data_files`: one, a list, or lists by split."""
    if isinstance(value, str):
        return [value]
    return [path for part in (value.values() if isinstance(value, Mapping) else value) for path in _flat(part)]
