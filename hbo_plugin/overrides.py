"""The command line: `--hbo.KEY VALUE` sets a key of the `hbo:` block, over what the YAML has."""

from typing import Any

import click
import yaml

from hbo_plugin import user_errors

_PREFIX = "hbo."


def apply(cfg: Any) -> None:
    """Put every `hbo.KEY` that stands beside the block into it.

    `python -m axolotl.cli.train` takes any option, and hands `--hbo.KEY` on as a top-level key of that name.

    Args:
        cfg: Axolotl's configuration before it is checked.

    Raises:
        ValueError: a value that is no YAML, or options that Axolotl has dropped.
    """
    _refuse_dropped()
    for option in [key for key in cfg if key.startswith(_PREFIX)]:
        value = cfg.pop(option)
        if cfg.get("hbo") is None:
            cfg["hbo"] = {}
        if isinstance(cfg["hbo"], dict):  # what is none is refused by its schema
            cfg["hbo"][option.removeprefix(_PREFIX)] = _read(option, value)


def _read(option: str, value: Any) -> Any:
    """What a value means, of which Axolotl leaves text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        user_errors.show_without_traceback()
        msg = f"`--{option} {value}` was given, but the value is not YAML; write it as after `{option.removeprefix(_PREFIX)}:`."
        raise ValueError(msg) from None


def _refuse_dropped() -> None:
    """Refuse options that `axolotl train` takes for those of a launcher, and drops where there is none."""
    context = click.get_current_context(silent=True)
    dropped = next((word for word in context.args if word.startswith("--hbo")), None) if context else None
    if context and dropped:
        user_errors.show_without_traceback()
        msg = (
            f"`{dropped}` was given, but `axolotl {context.info_name}` takes no keys of `hbo:`; give it to "
            f"`python -m axolotl.cli.{context.info_name}`, `accelerate launch -m axolotl.cli.{context.info_name}` or "
            f"`torchrun -m axolotl.cli.{context.info_name}`."
        )
        raise ValueError(msg)
