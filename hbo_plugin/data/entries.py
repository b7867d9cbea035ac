"""Entries: one entry of `datasets:` alone, as Axolotl loads it, and the files on this machine that it is read from."""

import copy
from collections.abc import Mapping
from functools import cached_property
from glob import glob
from pathlib import Path
from typing import Any

from hbo_plugin import compat
from hbo_plugin.data.files import FileDigests, files_in

_LISTS = ("datasets", "test_datasets")
_DATA = {
    ".arrow", ".bz2", ".csv", ".gz", ".json", ".jsonl", ".parquet", ".py", ".tar", ".tsv", ".txt", ".xz", ".zip", ".zst",
}  # fmt: skip


class Entries:
    """The entries of a run, one at a time, so that what is kept of one does not depend on the rest of the mixture."""

    def __init__(self, cfg: Any) -> None:
        """Nothing is read yet."""
        self.cfg = cfg
        self.folder = Path(cfg.dataset_prepared_path or compat.default_prepared_path()) / "hbo"
        self.files = FileDigests(self.folder / "digests.json")

    def alone(self, entry: Any, split: str) -> Any:
        """The configuration with this entry and no other; `split` is `train` or `test`."""
        alone = copy.deepcopy(self._shared)
        alone["datasets" if split == "train" else "test_datasets"] = [entry]
        if alone.rl:  # whose strategies read the entry of this number in `datasets`, also of held-out rows
            alone["datasets"] = [entry]
        return alone

    def digests(self, entry: Any) -> dict[str, str]:
        """The digest of each file that an entry is read from; none for an entry on a hub."""
        return self.files.of(self._local_files(entry))

    @cached_property
    def _shared(self) -> Any:
        """The configuration without its lists of datasets, which may be long."""
        shared = type(self.cfg)({key: value for key, value in self.cfg.items() if key not in _LISTS})
        shared["val_set_size"] = 0.0
        # The order of the prepared rows must not depend on the run's seed, or its scores would be made anew for each;
        # and without any shuffling, Axolotl hands its saving workers an object that they cannot unpickle.
        shared["seed"] = 0
        shared["shuffle_merged_datasets"] = True
        return shared

    def _local_files(self, entry: Any) -> list[Path]:
        """The files on this machine that an entry may be read from."""
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
        own = [Path(folder).resolve() for folder in (self.folder.parent, self.cfg.output_dir) if folder]
        return sorted(
            file
            for file in files_in(path)
            if file.suffix in _DATA
            and not file.name.startswith(("cache-", "."))
            and not any(folder in file.resolve().parents for folder in own)
        )


def where(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Of an entry of `datasets:`, the keys that say where it is read from."""
    keys = ("path", "data_files", "name", "split", "revision", "ds_type")
    return {key: entry[key] for key in keys if entry.get(key)}


def _flat(value: Any) -> list[str]:
    """The paths in `data_files`: one, a list, or lists by split."""
    if isinstance(value, str):
        return [value]
    return [path for part in (value.values() if isinstance(value, Mapping) else value) for path in _flat(part)]
