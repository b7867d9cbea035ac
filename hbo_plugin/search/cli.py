"""The command `search`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from hbo_plugin.compare.study import COUNT, Study, of_study
from hbo_plugin.outputs import STDOUT, html_option, json_option, plot_option, write_json

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--seeds", default=5, show_default=True, type=COUNT, help="Full runs of each mixture that is confirmed.")
@click.option("--trial-seeds", default=1, show_default=True, type=COUNT, help="Short trials of each candidate.")
@click.option(
    "--shorter", default=8, show_default=True, type=COUNT, help="A trial takes the steps of the run divided by this."
)
@click.option(
    "--floor",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of what the target leaves that all other datasets have evenly, whoever is chosen.",
)
@click.option("--budget", type=COUNT, help="Refuse to begin a search of more runs than this.")
@of_study
@json_option
@plot_option
@html_option
def search(study: Study, json_to: Path | None, plot_to: Path | None, html_to: Path | None, **options: Any) -> None:
    """Find the datasets that help a target, by trial runs.

    CONFIG is the file that `axolotl train` gets, with `target:` in its `hbo:` block. Each dataset that does not count gets
    what the target leaves, in a short trial. The best for each held-out set are confirmed in full runs on other seeds.
    Without `target:`, temperatures are tried in place of datasets. A search that was killed goes on. The runs lie in
    `search` in the folder of CONFIG, or where `--out` says.
    """
    # Axolotl takes seconds to import, which `--help` should not.
    from hbo_plugin.report import html
    from hbo_plugin.report.terminal import show
    from hbo_plugin.search import terminal
    from hbo_plugin.search.find import find
    from hbo_plugin.search.page import effects, page

    found = find(study, **options)
    if found is None:
        return
    if json_to != STDOUT:
        show(terminal.search(found))
    if json_to is not None:
        write_json(json_to, asdict(found))
    if plot_to is not None:
        effects(found).plot(plot_to)
    if html_to is not None:
        html.write(page(found, *study.read()), html_to)
