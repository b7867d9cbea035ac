"""A long run of the stream: 1e5 changes of weights and 1e9 draws leave memory and state as small as they were."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hbo_plugin import MixtureSampler

CELLS, UPDATES, ROWS_AN_UPDATE = 32, 100_000, 10_000
WARM = 20_000  # the schedule keeps 2^19 weights, 16,384 updates of 32 cells: by then its memory is full


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its memory as Linux tells it")
@pytest.mark.parametrize("replacement", [False, True])
def test_memory_and_state_stay_small(*, replacement: bool) -> None:
    updates, rows = (UPDATES, ROWS_AN_UPDATE) if not replacement else (WARM + 1000, 100)
    sizes = np.random.default_rng(0).integers(1, 300_000, CELLS)
    weights = np.random.default_rng(1).random((1000, CELLS))
    sampler = MixtureSampler(sizes, weights[0], seed=5, replacement=replacement)
    head, begun = 0, 0
    for update in range(updates):
        sampler.fill(head, rows)
        head += rows
        sampler.reweight(head, weights[update % len(weights)])
        if update == WARM:
            begun = resident()
    assert resident() - begun < 2**20
    state = json.dumps(sampler.state_dict())
    assert len(state) < 10**5
    restored = MixtureSampler.from_state_dict(json.loads(state))
    assert np.array_equal(restored.fill(head, 10**6), sampler.fill(head, 10**6))
    assert restored.state_dict() == sampler.state_dict()
    if not replacement:
        assert head == 10**9
