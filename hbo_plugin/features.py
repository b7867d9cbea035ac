"""Features: what a configuration may ask for, and why a kind of training may lack it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hbo_plugin.messages import yaml_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hbo_plugin.args import HBOConfig

MODEL_SCORES = ("loss", "perplexity", "ifd", "margin")
"""The kinds of difficulty that run the initial model over the data once."""
SCORES_TOLD = "`loss`, `perplexity` or `ifd`, or in DPO, IPO, ORPO and SimPO to `margin`"
"""The same, each where it can be asked for."""


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
        "`levels` by `difficulty: loss`, `perplexity` or `ifd`",
        lambda _, config: _difficulty(config, fits=config.difficulty in MODEL_SCORES and config.difficulty != "margin"),
        "no row is one answer that a language model learns",
        "set it to `length`, to a numeric column, or in DPO, IPO, ORPO and SimPO to `margin`",
    ),
    "margin": Feature(
        "`levels` by `difficulty: margin`",
        lambda _, config: _difficulty(config, fits=config.difficulty == "margin"),
        "no language model learns from a chosen and a rejected answer",
        "set it to `length`, or to a numeric column of another name",
    ),
    "token": Feature(
        "`unit: token`",
        lambda _, config: "hbo.unit: token" if config.unit == "token" else None,
        "the tokens that are trained on are not there before they are generated",
        "set it to `row`",
    ),
    "trained_token": Feature(
        "`unit: trained_token`",
        lambda _, config: "hbo.unit: trained_token" if config.unit == "trained_token" else None,
        "the loss of a row is no sum over tokens that are known",
        "set it to `row`",
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
