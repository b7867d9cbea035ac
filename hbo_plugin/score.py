"""The command `score`."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def score(config: Path) -> None:
    """Score the difficulty of the data, ahead of the training.

    CONFIG is the file that `axolotl train` gets. The training finds the scores, where it runs on a machine of the same
    kind. A command that was killed goes on from what it saved. `torchrun --nproc_per_node 8 -m hbo_plugin score CONFIG`
    shares the rows among 8 GPUs, and so does `accelerate launch`.
    """
    # Axolotl takes seconds to import, which `--help` should not.
    import axolotl.cli  # noqa: F401 sets up its logging, which must not come later

    from hbo_plugin import user_errors
    from hbo_plugin.features import MODEL_SCORES, SCORES_TOLD
    from hbo_plugin.setup import Setup, read_config

    user_errors.show_without_traceback()
    # Not as `axolotl preprocess` reads it: the precision must be that of the training.
    cfg = read_config(config)
    setup = Setup(cfg)
    kind = setup.config.difficulty
    if kind not in MODEL_SCORES:
        msg = f"`hbo.difficulty: {kind}` needs no model; set it to {SCORES_TOLD}, or just train."
        raise ValueError(msg)
    setup.refuse()
    if setup.data.cells.levels == 1:
        msg = "no dataset has more than one level, so nothing needs a difficulty; raise `hbo.levels`, or just train."
        raise ValueError(msg)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"Every row has its difficulty `{kind}`, which the training finds in `{cfg.dataset_prepared_path}`.")
