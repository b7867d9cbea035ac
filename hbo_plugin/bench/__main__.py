"""`python -m hbo_plugin.bench`."""

from hbo_plugin.bench.cli import main

main(prog_name="python -m hbo_plugin.bench")
