"""`python -m hbo_plugin`."""

from hbo_plugin.cli import main

if __name__ == "__main__":
    main(prog_name="python -m hbo_plugin")
