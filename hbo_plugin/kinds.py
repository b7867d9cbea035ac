"""Kinds of training: what hbo does in each, what it refuses there, and which it refuses. Nothing else decides this."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hbo_plugin.features import FEATURES, Feature
from hbo_plugin.messages import all_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hbo_plugin.args import HBOConfig

Rows = Literal["tokens", "texts", "pairs", "prompts"]
"""What the rows of a kind are made of, see `data.row_kinds`."""


@dataclass(frozen=True)
class Kind:
    """A kind of training.

    Attributes:
        told: what it is called, for the documentation.
        written: the option of Axolotl's that asks for it; empty for supervised training.
        rows: what its rows are made of.
        source: what looks at its training batches, see `signals.choice`; empty where nothing does.
        lacks: the features that it does not have.
    """

    told: str
    written: str = ""
    rows: Rows = "tokens"
    source: str = "reuse"
    lacks: frozenset[str] = frozenset()

    @property
    def supervised(self) -> bool:
        """Whether each row is a sequence of tokens, of which the model learns to predict those with a label."""
        return not self.written

    @property
    def generates(self) -> bool:
        """Whether a row is a prompt, whose answers are generated while it trains."""
        return self.rows == "prompts"


_NO_PASSES = frozenset(
    ("max_epochs_auto", "model_scores", "trained_token", "target", "record_steering", "row_weights", "packing")
)
_NO_MARGIN = _NO_PASSES | {"margin"}

SUPERVISED = Kind("supervised fine-tuning", lacks=frozenset({"margin"}))
KINDS: Mapping[str, Kind] = {
    "": SUPERVISED,
    "dpo": Kind("DPO", "rl: dpo", "texts", "pairs", _NO_PASSES),
    "ipo": Kind("IPO", "rl: ipo", "texts", "pairs", _NO_PASSES),
    "orpo": Kind("ORPO", "rl: orpo", "texts", "pairs", _NO_PASSES),
    "simpo": Kind("SimPO", "rl: simpo", "texts", "pairs", _NO_PASSES),
    "grpo": Kind("GRPO", "rl: grpo", "prompts", "rollouts", _NO_MARGIN | {"token"}),
    "gdpo": Kind("GDPO", "rl: gdpo", "prompts", "rollouts", _NO_MARGIN | {"token"}),
    "reward_model": Kind("reward model", "reward_model: true", "pairs", "pairs", _NO_MARGIN),
    "process_reward_model": Kind(
        "process reward model", "process_reward_model: true", "tokens", "", _NO_MARGIN | {"methods"}
    ),
}
"""Every kind that hbo trains, by the value of `rl` or the key that asks for it."""

REFUSED: Mapping[str, str] = {
    "kto": "takes its KL term from each prompt with the answer stored before it, so another order of the rows would change the "
    "loss in silence",
    "ebft": "generates what it trains on, and was never run with hbo",
    "async": "loads its prompts itself and asks for no sampler, so that no weights would act",
}
"""Every kind that hbo does not train, by the value of `rl`, and why; `async` is GRPO under one of the options of `ASYNC`."""
ASYNC = ("async_prefetch", "use_data_producer")
"""Options under `trl:` by which GRPO draws its own prompts."""


def kind_of(cfg: Mapping[str, Any]) -> Kind:
    """The kind of a configuration that `refusal` lets through."""
    return KINDS[_name(cfg)]


def refusal(cfg: Mapping[str, Any]) -> str | None:
    """Why hbo does not train this kind, in a sentence; None where it does."""
    name = _name(cfg)
    trl = cfg.get("trl") or {}
    if name in KINDS and KINDS[name].generates and (options := [key for key in ASYNC if trl.get(key)]):
        written, why = f"trl.{options[0]}: true", REFUSED["async"]
    elif name in KINDS:
        return None
    else:
        written, why = f"rl: {name}", REFUSED.get(name, "was never run with hbo")
    return f"`{written}` {why}; remove it, or remove `hbo:`."


def refuse(cfg: Any, config: HBOConfig) -> None:
    """Refuse what a kind lacks, all of it at once.

    Args:
        cfg: Axolotl's configuration.
        config: the `hbo:` block.

    Raises:
        ValueError: names what was asked for, the kind, and what to do.
    """
    kind = kind_of(cfg)
    where = f"`{kind.written}`" if kind.written else kind.told

    def check(feature: Feature) -> None:
        if asked := feature.asked(cfg, config):
            msg = f"`{asked}` cannot be used with {where}, where {feature.why}; {feature.instead}."
            raise ValueError(msg)

    all_of(partial(check, feature) for name, feature in FEATURES.items() if name in kind.lacks)


def refuse_command(command: str, cfg: Mapping[str, Any]) -> None:
    """Raise a ValueError where a configuration is of another kind than a command was made for."""
    if name := _name(cfg):
        written = KINDS[name].written if name in KINDS else f"rl: {name}"
        msg = f"{command} works with supervised fine-tuning alone, and not with `{written}`; use `axolotl train`, which evaluates too."
        raise ValueError(msg)


def _name(cfg: Mapping[str, Any]) -> str:
    """The value of `rl`, or the key of a reward model; empty for supervised training."""
    rl = cfg.get("rl")
    if rl:
        return str(getattr(rl, "value", rl))
    return next((key for key in ("reward_model", "process_reward_model") if cfg.get(key)), "")
