"""`python -m benchmarks`: what hbo costs a run, how it packs, what it measures and brings, also to a target and under GRPO, how soon it starts, how fast it scores; and all on a GPU."""

import click

from benchmarks.comparison import compare
from benchmarks.gpu.command import gpu
from benchmarks.memory import memory
from benchmarks.packing import packing
from benchmarks.rollouts import rollouts
from benchmarks.scoring import scoring
from benchmarks.searches import searches
from benchmarks.signals import signals
from benchmarks.start import start
from benchmarks.targets import targets
from benchmarks.training_cases import methods, training
from benchmarks.trials import trials


@click.group()
def main() -> None:
    """Measure this repository: each command prints its table, and writes it with `--json`."""


main.add_command(training)
main.add_command(methods)
main.add_command(compare)
main.add_command(packing)
main.add_command(start)
main.add_command(scoring)
main.add_command(signals)
main.add_command(targets)
main.add_command(trials)
main.add_command(searches)
main.add_command(rollouts)
main.add_command(memory)
main.add_command(gpu)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
