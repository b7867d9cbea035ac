"""The commands of `python -m hbo_plugin`, each imported when it is called: `report` must not wait for torch."""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files

import click

PACKAGE = files("hbo_plugin")

# Where each command is, and what `--help` says of it without importing it.
COMMANDS = {
    "bench": ("hbo_plugin.bench.cli:bench", "Measure the sampler against named peers, on this machine."),
    "check": ("hbo_plugin.check.cli:check", "Show what a run will do, before it trains."),
    "compare": (
        "hbo_plugin.compare.cli:compare",
        "Make a run several ways with paired seeds, and judge them.",
    ),
    "docs": ("hbo_plugin.cli:docs", "Print a page of the documentation, or list the pages."),
    "report": ("hbo_plugin.report.cli:report", "Show the mixture of a run, first against last."),
    "rows": ("hbo_plugin.report.cli:rows", "Show the rows of a step, and where they are in your files."),
    "schema": ("hbo_plugin.cli:schema", "Print the JSON Schema of a configuration, for editors."),
    "search": ("hbo_plugin.search.cli:search", "Find the datasets that help a target, by trial runs."),
    "score": ("hbo_plugin.score:score", "Score the difficulty of the data, ahead of the training."),
}


class Commands(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, and import nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=Commands)
def main() -> None:
    """Balance a fine-tuning mixture while the model trains: what the plugin shows beside the training."""


@click.command()
@click.argument("page", required=False)
def docs(page: str | None) -> None:
    """Print a page of the documentation, or list the pages.

    PAGE is a name of that list.
    """
    found = (PACKAGE / "docs").iterdir()
    pages = {
        file.name.removesuffix(".md"): file.read_text(encoding="utf-8") for file in found if file.name.endswith(".md")
    }
    if page is None:
        width = max(map(len, pages))
        for name, text in sorted(pages.items()):
            title = text.splitlines()[0].lstrip("# ")
            click.echo(f"{name:{width}}  {title}")
    elif page in pages:
        click.echo(pages[page], nl=False)
    else:
        msg = f"`{page}` was given, but the pages are {', '.join(f'`{name}`' for name in sorted(pages))}: choose one."
        raise click.ClickException(msg)


@click.command()
def schema() -> None:
    """Print the JSON Schema of a configuration, for editors.

    It describes the whole YAML file: the block `hbo:` strictly, and every other key as allowed.
    """
    click.echo((PACKAGE / "hbo.schema.json").read_text(encoding="utf-8"), nl=False)
