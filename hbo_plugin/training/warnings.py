"""What a run warns of: weights that cannot change, and measurements of which none is a number."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hbo_plugin.training.moments import Moments

LOG = logging.getLogger(__name__)

_UPDATES = 20
"""How many updates a run should have at least, for its weights to get anywhere."""


def warn_of_rare_updates(moments: Moments, steps: int) -> None:
    """Warn where the first update of an adaptive run of so many steps would come after its last step."""
    if moments.branches:  # which lie within the run, or it would be refused
        return
    if moments.hold >= steps > 0:
        LOG.warning("hbo: `hold_steps` keeps the weights still for all %d steps of the run; set a lower one.", steps)
    elif moments.every >= steps > 0:
        LOG.warning(
            "hbo: `update_every: %d` is not below the %d steps of the run, so the weights will never change; "
            "set `update_every: %d` for about %d updates.",
            moments.every,
            steps,
            max(1, steps // _UPDATES),
            min(steps, _UPDATES),
        )


def warn_of_no_losses() -> None:
    """Warn that an evaluation says nothing of single sets."""
    LOG.warning(
        "hbo: the losses of single held-out sets are not measured: the evaluation leaves no logits, and ranks "
        "that share a model cannot run it apart from the training; train with DDP, or turn the fused loss off."
    )


def warn_of_nothing_left(step: int) -> None:
    """Warn that the cap leaves nothing to draw."""
    LOG.warning(
        "hbo: from step %d on, `max_epochs` leaves no dataset to draw, so the run goes on with all of them, stopped ones "
        "too; end it here, or raise `max_epochs`.",
        step,
    )


def report_nothing_finite(step: int, *, stop: bool) -> None:
    """Say that nothing that was measured at a step is a finite number; a RuntimeError where the run is to `stop`."""
    what = (
        f"nothing that was measured at step {step} is a finite number, so the model has probably diverged; "
        f"resume from an earlier checkpoint with a lower learning rate"
    )
    if stop:
        msg = f"{what}."
        raise RuntimeError(msg)
    LOG.error("hbo: %s, or set `hbo.stop_on_nan: true` to end such a run.", what)
