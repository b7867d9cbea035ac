"""Continued pretraining from disk, as docs/recipes.md has it: documents in rows, packed, with shares of tokens."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from resume import assert_resumes
from runs import lines, read_trace

pytestmark = pytest.mark.axolotl

RECIPES = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()


def recipe() -> dict[str, Any]:
    found = re.search(r"^### Continued pretraining from disk\n\n```yaml\n(.*?)^```$", RECIPES, re.DOTALL | re.MULTILINE)
    assert found
    block: dict[str, Any] = yaml.safe_load(found[1])
    return block


def test_shares_of_tokens_hold_in_continued_pretraining(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A book has many rows and a page of the web a part of one; the run is killed and goes on."""
    block = recipe()
    said = {"books": [f"In year {i} they had {i * 7} stones. " * 40 for i in range(12)]}
    said["web"] = [f"Add {i} and {i % 7}: {i + i % 7}." for i in range(160)]
    for entry in block["datasets"]:
        documents = said[Path(entry["path"]).stem]
        entry["path"] = str(tmp_path / entry["path"])
        Path(entry["path"]).write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    config = make_config(**{**block, "sequence_len": 128}, pad_to_sequence_len=True, max_steps=40, num_epochs=20)
    config["hbo"]["record_rows"] = True
    folder = assert_resumes(config, monkeypatch, crash_at=19)
    last = read_trace(folder)[-1]
    assert last["rows"]["web"] == [160]
    assert last["rows"]["books"][0] > 12 * 4
    assert last["unit"] == "token"
    shares = np.array([*block["hbo"]["weights"].values()]) / 100
    tokens = np.array([sum(last["tokens"][name]) for name in block["hbo"]["weights"]])
    np.testing.assert_allclose(tokens / tokens.sum(), shares, atol=0.03)
    # Counted again: a row of the web has a few tokens, one of a book most of a bin.
    rows = [row for record in lines(folder / "hbo_rows.jsonl") for row in record["rows"]]
    assert np.bincount(np.array(rows) >= last["rows"]["books"][0]).tolist() == [
        sum(last["rows_trained"][name]) for name in ("books", "web")
    ]
