"""Samplers that plan a whole epoch before its first row, beside ours. Run as a module, it is a fresh process that does it once."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from hbo_plugin import MixtureSampler, RowSampler
from hbo_plugin.bench.memory import megabytes


def ours(rows: int) -> int:
    """The first row under new weights."""
    mixture = MixtureSampler([rows - rows // 4, rows // 4], [3, 1], seed=0)
    mixture.reweight(0, [1, 1])
    return next(iter(RowSampler(mixture, rank=0, ranks=8)))


def distributed(rows: int) -> int:
    """What Trainers shuffle an epoch with on several ranks; all rows count alike."""
    from torch.utils.data import DistributedSampler

    return int(next(iter(DistributedSampler(range(rows), num_replicas=8, rank=0))))  # type: ignore[arg-type]


def weighted(rows: int) -> int:
    """Torch's sampler by weights, which cannot share its rows out over ranks."""
    import torch
    from torch.utils.data import WeightedRandomSampler

    return int(next(iter(WeightedRandomSampler(torch.ones(rows, dtype=torch.float64), rows))))  # type: ignore[arg-type]


PLANNERS: Mapping[str, Callable[[int], int]] = {
    "hbo": ours,
    "torch DistributedSampler": distributed,
    "torch WeightedRandomSampler": weighted,
}
"""Each returns the first row of an epoch of so many rows."""


def planned(name: str, rows: int) -> tuple[float, float, str]:
    """Seconds of the processor to the first row, by how many megabytes a fresh process grew at its peak, and what it said if it could not."""
    command = [sys.executable, "-m", __name__, name, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        return 0.0, 0.0, done.stderr.strip().splitlines()[-1][:160]
    seconds, grown = json.loads(done.stdout)
    return seconds, grown, ""


if __name__ == "__main__":
    name, rows = sys.argv[1:]
    PLANNERS[name](1000)  # imports
    before, begun = megabytes("VmRSS"), time.process_time()
    PLANNERS[name](int(rows))
    sys.stdout.write(json.dumps([time.process_time() - begun, megabytes("VmHWM") - before]))
