"""The first rows of several streams, as they have been since they were released: a change breaks every resume.

Run as a program it writes the file anew, which is a stream-breaking change.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from hbo_plugin._sampler import MixtureSampler

GOLDEN = Path(__file__).parent / "golden" / "stream.json"
STREAMS: list[dict[str, Any]] = json.loads(GOLDEN.read_text())


def rows_of(stream: dict[str, Any]) -> list[int]:
    (_, weights), *updates = stream["schedule"]
    sampler = MixtureSampler(stream["cell_sizes"], weights, seed=stream["seed"], replacement=stream["replacement"])
    for position, later in updates:
        sampler.reweight(position, later)
    return [int(row) for start in stream["starts"] for row in sampler.fill(start, 12)]


@pytest.mark.parametrize("stream", STREAMS, ids=[stream["name"] for stream in STREAMS])
def test_rows_are_what_they_have_always_been(stream: dict[str, Any]) -> None:
    assert rows_of(stream) == stream["rows"]


if __name__ == "__main__":
    lines = [json.dumps({**stream, "rows": rows_of(stream)}) for stream in STREAMS]
    GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n")
