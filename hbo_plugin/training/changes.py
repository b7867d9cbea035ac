"""Changes: what a resumed run does with keys of `hbo:` that are not as they were when the checkpoint was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hbo_plugin.messages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

OnResume = Literal["acts", "refused", "data"]

ON_RESUME: Mapping[str, OnResume] = {
    "method": "refused",
    "published": "refused",
    "unit": "refused",
    "replacement": "refused",
    "seed": "refused",
    "row_weights": "refused",
    "update_every": "acts",
    "signals": "acts",
    "gradient_rows": "acts",
    "forward_rows": "acts",
    "copy_steps": "acts",
    "settings": "acts",
    "max_epochs": "acts",
    "log_levels": "acts",
    "record_rows": "acts",
    "record_steering": "acts",
    "stop_on_nan": "acts",
    "held_out": "acts",
    "target": "acts",
    "hold_steps": "acts",
    "levels": "data",
    "difficulty": "data",
    "scorer_model": "data",
    "names": "data",
    "group_by": "data",
    "group_min_rows": "data",
    "val_set_size": "data",
    "easiest": "data",
}
"""What becomes of each key where it changed: the new value acts from the checkpoint on; the run is refused; or the rows
that follow from it are compared, so that a change that matters is refused. Parameters of a method act."""


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Compare the block of a checkpoint with that of the run that resumes from it.

    Args:
        old: the keys of the checkpoint, each with its value as YAML has it.
        new: those of the run.

    Returns:
        The keys whose new values act from now on.

    Raises:
        ValueError: a key changed that must stay as it was.
    """
    changed = [key for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)]
    refused = [key for key in changed if ON_RESUME.get(key) == "refused"]
    if refused:
        was = ", ".join(f"{key}: {old[key]}" if key in old else f"no {key}" for key in refused)
        now = ", ".join(f"{key}: {new[key]}" if key in new else f"no {key}" for key in refused)
        msg = (
            f"the checkpoint was trained with `{was}`, but `hbo:` has `{now}`; change {listed(refused)} back, "
            f"or start afresh in another `output_dir`."
        )
        raise ValueError(msg)
    return [key for key in changed if ON_RESUME.get(key, "acts") == "acts"]
