"""Memory: what a sampler adds to a fresh process, at its peak. Run as a module, it is that process."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median

from hbo_plugin.bench.contender import Contender, Mixture, UnableError
from hbo_plugin.bench.measure import Plan, Row, too_large
from hbo_plugin.bench.peers import CONTENDERS

_STATUS = Path("/proc/self/status")


def memory(
    sizes: Iterable[int], contenders: Iterable[type[Contender]], plan: Plan, say: Callable[[str], None]
) -> Iterator[Row]:
    """Rows of the memory of each contender at each size; Linux only, elsewhere the rows say so."""
    for rows in sizes:
        for contender in contenders:
            case = f"memory, {rows:,} rows"
            say(f"{case}: {contender.name}")
            try:
                values = sorted(_in_fresh_process(contender, rows, plan) for _ in range(plan.repeats // 2))
            except UnableError as error:
                yield Row(case, contender.name, contender.ours, "MB", note=str(error))
            else:
                yield Row(case, contender.name, contender.ours, "MB", median(values), (values[0], values[-1]))


def _in_fresh_process(contender: type[Contender], rows: int, plan: Plan) -> float:
    if not _STATUS.exists():
        msg = "needs Linux, which tells a process its peak"
        raise UnableError(msg)
    if msg := too_large(contender, rows, plan):
        raise UnableError(msg)
    command = [sys.executable, "-m", __name__, contender.name, str(rows)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30 + plan.patience)  # noqa: S603
    except subprocess.TimeoutExpired:
        msg = f"too slow: {plan.patience:g} s were not enough"
        raise UnableError(msg) from None
    except subprocess.CalledProcessError as error:
        raise UnableError(error.stderr.strip().splitlines()[-1][:120]) from None
    return float(json.loads(done.stdout))


def megabytes(field: str) -> float:
    """A number that Linux tells this process of its memory: `VmRSS` is now, `VmHWM` is the peak."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024 / 1e6


def _added(contender: type[Contender], rows: int) -> float:
    """Megabytes at the peak of making a sampler and drawing 10 windows; below 1 is noise, and counts as 1."""
    for mixture in (Mixture(10_000), Mixture(rows)):  # the first brings in the library's code
        before = megabytes("VmRSS")
        sampler = contender(mixture, 1024)
        for weights in mixture.weights(10):
            sampler.reweight(contender.form(mixture, weights))
            for _ in range(4):
                sampler.draw(256)
        del sampler
    return max(1.0, megabytes("VmHWM") - before)


if __name__ == "__main__":
    name, rows = sys.argv[1:]
    sys.stdout.write(json.dumps(_added(next(each for each in CONTENDERS if each.name == name), int(rows))))
