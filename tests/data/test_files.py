"""Digests of files: by content, computed again only when size or time changed, and never lost with their own file."""

import os
from pathlib import Path

import pytest

from hbo_plugin.data.files import FileDigests


def test_a_digest_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    (tmp_path / "copy").write_text("one")
    digests = FileDigests(tmp_path / "digests.json")
    first = digests.of([file, tmp_path / "copy"])
    assert len(set(first.values())) == 1
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    assert digests.of([file]) != {str(file): first[str(file)]}


def test_a_file_of_the_same_size_and_time_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    first = FileDigests(tmp_path / "digests.json").of([file])
    later = FileDigests(tmp_path / "digests.json")
    monkeypatch.setattr(Path, "open", lambda *_, **__: pytest.fail("read again"))
    assert later.of([file]) == first


@pytest.mark.parametrize("content", ["", "{", "[]", '{"/a": 3}'])
def test_damaged_digests_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    kept = tmp_path / "digests.json"
    first = FileDigests(kept).of([file])
    kept.write_text(content)
    assert FileDigests(kept).of([file]) == first
    assert [record.getMessage() for record in caplog.records] == [
        f"hbo: `{kept}` is damaged; the digests of the files are computed again"
    ]
