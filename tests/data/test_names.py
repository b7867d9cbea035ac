"""Names: every entry has one of its own, and what tells entries apart is in it."""

from pathlib import Path
from typing import Any

import pytest

from hbo_plugin.data.names import entry_names


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (["data/math.jsonl", "org/chat-1m", "a/v1.5", "s3://b/code.jsonl.gz"], ["math", "chat-1m", "v1.5", "code"]),
        (["harbour/rows.jsonl", "market/rows.jsonl"], ["harbour-rows", "market-rows"]),
        # The same names in whatever order, and whatever folder lies between.
        (["market/kept/rows.jsonl", "harbour/kept/rows.jsonl"], ["market-rows", "harbour-rows"]),
        (["a/x.json", "a/b/x.json"], ["x", "b-x"]),
        ([{"path": "shelf", "data_files": f"shelf/{name}.jsonl"} for name in ("fables", "riddles")], ["fables", "riddles"]),
        (
            [{"path": "shelf", "data_files": ["a.json", "b.json"]}, {"path": "shelf", "data_files": {"train": "c.csv"}}],
            ["a-b", "c"],
        ),
        ([{"path": "shelf", "data_files": "a.json"}, {"path": "shelf"}], ["a", "shelf"]),
        ([{"path": "gsm8k", "name": "main"}, {"path": "gsm8k", "name": "socratic"}], ["gsm8k-main", "gsm8k-socratic"]),
        ([{"path": "x", "split": "train[:5]"}, {"path": "x", "split": "train[5:]"}], ["x-train-5", "x-train-5-2"]),
        ([{"path": "x", "split": "a"}, {"path": "x", "split": "b"}], ["x-a", "x-b"]),
        (["x", "x", "x-2"], ["x", "x-2", "x-2-2"]),
        (["/", "..jsonl", "a/.hidden"], ["data", "data-2", "hidden"]),
        (["données/日本.jsonl", "a [b]/😀 c.json"], ["日本", "c"]),
    ],
)  # fmt: skip
def test_names(entries: list[Any], names: list[str]) -> None:
    assert entry_names([{"path": entry} if isinstance(entry, str) else entry for entry in entries]) == names


@pytest.mark.parametrize("path", [".", "./", "sub/.."])
def test_a_folder_without_a_name_is_called_as_it_is_on_the_disk(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "parrots"
    (folder / "sub").mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert entry_names([{"path": path}]) == ["parrots"]


def test_given_names() -> None:
    assert entry_names([{"path": "x"}], ["any [name] / at all"]) == ["any [name] / at all"]
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        entry_names([{"path": "x"}], ["a", "b"])
    assert str(error.value) == "`hbo.names` has 2 names and `datasets:` has 1 entries; give one name to each entry."
