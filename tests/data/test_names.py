"""Names: every entry has one of its own, and what tells entries apart is in it."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbo_plugin.data.names import entry_names, metric_names


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


def test_given_names_stay_as_they_are() -> None:
    assert entry_names([{"path": "x"}], ["any [name] / at 100% 數"]) == ["any [name] / at 100% 數"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "`hbo.names` has 1 names and `datasets:` has 2 entries; give one name to each entry."),
        (["a", "a"], "`hbo.names` has the name `a` twice; give every dataset a name of its own."),
        *(
            (
                ["a", name],
                f"`hbo.names` has the name {shown}, but a name is text on one line, without a space at its ends; rename it.",
            )
            for name, shown in [
                ("", "''"),
                (" a", "' a'"),
                ("a\u3000", r"'a\u3000'"),
                ("a\nb", r"'a\nb'"),
                ("\x1b[31m", r"'\x1b[31m'"),
                ("a\u2028b", r"'a\u2028b'"),
                ("\ud800", r"'\ud800'"),
            ]
        ),
    ],
)
def test_what_cannot_be_a_name_is_refused(names: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        entry_names([{"path": "x"}, {"path": "y"}], names)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("names", "written"),
    [
        (["sums", "v1.5", "chat-1m"], ["sums", "v1.5", "chat-1m"]),
        (["sea/weather", "sea", "sea-weather"], ["sea-weather-2", "sea", "sea-weather"]),
        (["Math", "math", "math-2"], ["Math", "math-2", "math-2-2"]),
        # Where what is not ASCII becomes `_`, these would be one.
        (["数学", "代码", "算"], ["数学", "代码-2", "算"]),
        (["ß", "é", "e\u0301"], ["ß", "é-2", "é-3"]),
        (["[/]", "..", "🙂"], ["data", "data-2", "data-3"]),
        (["target", "[Target]"], ["target-2", "Target-3"]),  # `eval_target_loss` is the mean
        (["a" * 500, "語" * 500], ["a" * 120, "語" * 40]),
    ],
)
def test_names_in_metrics(names: list[str], written: list[str]) -> None:
    assert metric_names(names) == dict(zip(names, written, strict=True))


@given(st.lists(st.text(), unique=True))
def test_any_names_are_safe_in_metrics(names: list[str]) -> None:
    written = metric_names(names)
    assert written.keys() == set(names)
    in_files = [re.sub(r"[^0-9A-Za-z_\-\.\ :/]", "_", name).lower() for name in written.values()]  # as the Trainer does
    assert len({*in_files, "target"}) == len(names) + 1
    assert all(re.fullmatch(r"[\w.-]+", name) and name.strip(".") for name in written.values())
    assert all(len(name.encode()) < 140 for name in written.values())
