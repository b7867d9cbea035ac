"""Kinds of training: what hbo does in each, what it refuses there, and which it refuses. Nothing else decides this."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hbo_plugin.messages import all_of, yaml_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hbo_plugin.args import HBOConfig

MODEL_SCORES = ("loss", "perplexity", "ifd")
"""The kinds of difficulty that run the initial model over the data once."""


@dataclass(frozen=True)
class Feature:
    """Something that a configuration may ask for.

    Attributes:
        told: what it is, for the documentation.
        asked: how a configuration asks for it, as in `hbo.group_by: source`; None where it does not.
        why: why a kind may lack it.
        instead: what to do there.
    """

    told: str
    asked: Callable[[Any, HBOConfig], str | None]
    why: str = ""
    instead: str = ""


Rows = Literal["tokens", "texts", "pairs"]
"""What the rows of a kind are made of, see `data.row_kinds`."""


@dataclass(frozen=True)
class Kind:
    """A kind of training.

    Attributes:
        told: what it is called, for the documentation.
        written: the option of Axolotl's that asks for it; empty for supervised training.
        rows: what its rows are made of.
        source: what looks at its training batches, see `signals.sources`; empty where nothing does.
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


def _levels(config: HBOConfig) -> int:
    given = config.levels
    return max(given.values(), default=1) if isinstance(given, dict) else given


def _difficulty(config: HBOConfig, *, fits: bool) -> str | None:
    return f"hbo.difficulty: {config.difficulty}" if fits and _levels(config) > 1 else None


def _caps(config: HBOConfig) -> list[float | Literal["auto"]]:
    if "max_epochs" not in config.model_fields_set:
        return []
    return [*config.max_epochs.values()] if isinstance(config.max_epochs, dict) else [config.max_epochs]


def _key(config: HBOConfig, name: str) -> str:
    return f"hbo.{name}: {yaml_text(getattr(config, name))}"


FEATURES: Mapping[str, Feature] = {
    "shares": Feature(
        "shares that hold: `weights`, also in phases, or `method: static` with a `prior`",
        lambda _, config: f"hbo.method: {config.method}" if config.is_static else None,
    ),
    "methods": Feature(
        "any other `method`, where its signals are measured",
        lambda _, config: None if config.is_static else f"hbo.method: {config.method}",
        "hbo measures no signals yet",
        "write the shares down as `hbo.weights`, or set `hbo.method: static`",
    ),
    "group_by": Feature("`group_by`", lambda _, config: _key(config, "group_by") if config.group_by else None),
    "max_epochs": Feature(
        "`max_epochs` as a number",
        lambda _, config: _key(config, "max_epochs") if any(cap != "auto" for cap in _caps(config)) else None,
    ),
    "max_epochs_auto": Feature(
        "`max_epochs: auto`",
        lambda _, config: "hbo.max_epochs: auto" if "auto" in _caps(config) else None,
        "hbo watches no held-out losses yet",
        "give a number",
    ),
    "length": Feature(
        "`levels` by `difficulty: length`",
        lambda _, config: _difficulty(config, fits=config.difficulty == "length"),
    ),
    "column": Feature(
        "`levels` by a column",
        lambda _, config: _difficulty(config, fits=config.difficulty not in ("length", *MODEL_SCORES)),
    ),
    "model_scores": Feature(
        "`levels` by the scores of a model",
        lambda _, config: _difficulty(config, fits=config.difficulty in MODEL_SCORES),
        "no model scores rows yet",
        "set it to `length`, or to a numeric column",
    ),
    "token": Feature("`unit: token`", lambda _, config: "hbo.unit: token" if config.unit == "token" else None),
    "trained_token": Feature(
        "`unit: trained_token`",
        lambda _, config: "hbo.unit: trained_token" if config.unit == "trained_token" else None,
        "the loss of a row is no sum over its tokens",
        "set it to `row` or `token`",
    ),
    "held_out": Feature(
        "held-out metrics of each dataset",
        lambda cfg, config: next(
            (
                f"{name}:"
                for name, given in (
                    ("val_set_size", cfg.val_set_size),
                    ("test_datasets", cfg.test_datasets),
                    ("hbo.val_set_size", config.val_set_size),
                )
                if given
            ),
            None,
        ),
    ),
    "target": Feature(
        "`target`",
        lambda _, config: _key(config, "target") if config.target else None,
        "nothing looks at held-out rows yet",
        "remove it; `eval_target_loss` is then the mean over all held-out sets",
    ),
    "record_steering": Feature(
        "`record_steering`",
        lambda _, config: "hbo.record_steering: true" if config.record_steering else None,
        "hbo runs no passes of its own yet",
        "remove it",
    ),
    "row_weights": Feature(
        "`row_weights`",
        lambda _, config: "hbo.row_weights" if config.row_weights else None,
        "hbo scales no gradients yet",
        "remove it",
    ),
    "packing": Feature(
        "`sample_packing`",
        lambda cfg, _: "sample_packing: true" if cfg.sample_packing else None,
        "packing was never run",
        "remove it",
    ),
}
"""What a configuration may ask for beside `record_rows`, a trace, a report, a check, a resume and ranks, which work in all kinds."""


_NO_SIGNALS = frozenset(name for name, feature in FEATURES.items() if feature.why)
_PAIRS = _NO_SIGNALS - {"methods"}

SUPERVISED = Kind("supervised fine-tuning")
KINDS: Mapping[str, Kind] = {
    "": SUPERVISED,
    "dpo": Kind("DPO", "rl: dpo", "texts", "pairs", _PAIRS),
    "ipo": Kind("IPO", "rl: ipo", "texts", "pairs", _PAIRS),
    "orpo": Kind("ORPO", "rl: orpo", "texts", "pairs", _PAIRS),
    "simpo": Kind("SimPO", "rl: simpo", "texts", "pairs", _PAIRS),
    "reward_model": Kind("reward model", "reward_model: true", "pairs", "pairs", _PAIRS),
    "process_reward_model": Kind("process reward model", "process_reward_model: true", "tokens", "", _NO_SIGNALS),
}
"""Every kind that hbo trains, by the value of `rl` or the key that asks for it."""

REFUSED: Mapping[str, str] = {
    "kto": "takes its KL term from each prompt with the answer stored before it, so another order of the rows would change the "
    "loss in silence",
    "grpo": "needs the generations of a prompt side by side, and hbo has no sampler that keeps them together",
    "gdpo": "needs the generations of a prompt side by side, and hbo has no sampler that keeps them together",
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
    if name in KINDS:
        return None
    trl = cfg.get("trl") or {}
    options = [key for key in ASYNC if trl.get(key)]
    written, why = f"rl: {name}", REFUSED.get(name, "was never run with hbo")
    if name in ("grpo", "gdpo") and options:
        written, why = f"trl.{options[0]}: true", REFUSED["async"]
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

    def check(feature: Feature) -> None:
        if asked := feature.asked(cfg, config):
            msg = f"`{asked}` cannot be used with `{kind.written}`, where {feature.why}; {feature.instead}."
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
