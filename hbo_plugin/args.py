"""The `hbo:` block: every key with its default and bounds, and the Axolotl options that cannot work with it."""

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODEL_SCORES = ("loss", "perplexity", "ifd")
"""The kinds of difficulty that run the initial model over the data once."""


class HBOConfig(BaseModel):
    """The keys of the `hbo:` block. All are optional."""

    model_config = ConfigDict(extra="forbid")

    method: Literal["hbo", "proportional", "temperature", "uniform"] = Field(
        default="hbo", description="The rule that turns signals into weights."
    )
    reference: bool = Field(
        default=False,
        description="With `method: hbo`: the update rule of the published code, to the number. "
        "Changes the defaults of `update_every` to 200 and of `temperature` to 1, as published.",
    )
    update_every: int = Field(default=100, ge=1, description="Optimizer steps between two updates of the weights.")
    temperature: float = Field(
        default=3.0,
        gt=0,
        description="The prior of a dataset is rows ** (1 / temperature): 1 is proportional, .inf is uniform.",
    )
    levels: int = Field(default=4, ge=1, description="Difficulty levels per dataset; 1 balances datasets only.")
    difficulty: str = Field(
        default="length",
        min_length=1,
        description="How hard a row is: `length`, `loss`, `perplexity`, `ifd`, or the name of a numeric column.",
    )
    rate: float = Field(default=0.5, gt=0, le=1, description="How far one update goes towards its target.")
    floor: float = Field(default=0.05, ge=0, le=1, description="Share of the prior that is always kept in the weights.")
    smoothing: float = Field(default=0.5, ge=0, lt=1, description="Share of the old average that a new signal keeps.")
    strength: float = Field(default=0.5, ge=0, le=10, description="Exponent of a signal in the target.")
    max_laps: float | None = Field(
        default=10.0, gt=0, description="How often a row may be repeated in the run; null lifts the cap."
    )
    gradient_rows: int = Field(default=32, ge=1, description="Rows of a dataset that one gradient norm is measured on.")
    forward_rows: int = Field(default=16, ge=1, description="Rows of a cell that one perplexity ratio is measured on.")
    replacement: bool = Field(default=False, description="Draw with replacement, as the paper does.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Seed of the stream; Axolotl's `seed` if unset.")
    names: list[str] | None = Field(default=None, description="One name for each entry of `datasets:`.")
    record_rows: bool = Field(default=False, description="Write the rows of each step to `hbo_rows.jsonl`.")

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, dict):
            msg = f"`hbo: {data!r}` was given, but `hbo:` is a block of keys; leave it empty to use every default."
            raise ValueError(msg)  # noqa: TRY004 pydantic reports a ValueError, and lets a TypeError through
        for key in data:
            if key not in cls.model_fields:
                near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.0)[0]
                msg = (
                    f"`hbo:` has no key `{key}`; the nearest is `{near}`. "
                    f"Its keys are {', '.join(f'`{name}`' for name in cls.model_fields)}."
                )
                raise ValueError(msg)
        return data

    @model_validator(mode="after")
    def _consistent(self) -> "HBOConfig":
        if self.names and len(set(self.names)) != len(self.names):
            msg = f"`hbo.names: {self.names}` holds a name twice; give every dataset a name of its own."
            raise ValueError(msg)
        if self.reference:
            if self.method != "hbo":
                msg = f"`hbo.reference: true` goes with `method: hbo` only, not `{self.method}`; remove one of the two."
                raise ValueError(msg)
            # Straight into __dict__: an assignment would mark the keys as set by the user.
            if "update_every" not in self.model_fields_set:
                self.__dict__["update_every"] = 200
            if "temperature" not in self.model_fields_set:
                self.__dict__["temperature"] = 1.0
        return self


class HBOArgs(BaseModel):
    """What the plugin adds to Axolotl's schema."""

    hbo: HBOConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _compatible(cls, data: Any) -> Any:
        if isinstance(data, dict) and "hbo" in data:
            refuse_incompatible(data)
        return data


_REFUSED = {
    "sample_packing": "packs a whole epoch before the first step, so that no weight could act: set `sample_packing: false`",
    "streaming": "has no rows to draw by number: remove it and let Axolotl prepare the datasets",
    "pretraining_dataset": "is streamed and has no rows to draw by number: list the data under `datasets:`",
    "skip_prepare_dataset": "leaves rows without tokens to count: remove it",
    "rl": "trains on pairs or rollouts, not on a mixture of rows: remove it, or remove `hbo:`",
    "reward_model": "does not train on a language-model loss: remove it, or remove `hbo:`",
    "process_reward_model": "does not train on a language-model loss: remove it, or remove `hbo:`",
    "curriculum_sampling": "fixes the order of the rows: remove it; `hbo.levels` orders by difficulty instead",
    "group_by_length": "draws rows by length, which the weights would override in silence: remove it",
    "balance_labels": "needs Axolotl's own sampler, which the weights replace: remove it",
    "use_dft": "reweights the loss inside a batch, and the signals would measure that: remove it",
    "diffusion_lm": "has no next-token loss to measure: remove it, or remove `hbo:`",
    "auto_find_batch_size": "changes the rows of a step during the run: remove it and lower `micro_batch_size`",
    "processor_type": "feeds images, which the probes cannot batch: remove it, or remove `hbo:`",
}
_NO_GRADIENT_PROBE = ("deepspeed", "fsdp", "fsdp_config")


def refuse_incompatible(data: dict[str, Any]) -> None:
    """Raise a ValueError for the first Axolotl option in `data` that an adaptive mixture cannot work with."""
    for key, reason in _REFUSED.items():
        if data.get(key):
            msg = f"`{key}: {data[key]}` cannot be combined with `hbo:`: it {reason}."
            raise ValueError(msg)
    accelerator = data.get("accelerator_config") or {}
    for key in ("dispatch_batches", "split_batches"):
        if accelerator.get(key):
            msg = f"`accelerator_config.{key}: true` cannot be combined with `hbo:`: ranks must draw their own share of one stream: remove it."
            raise ValueError(msg)
    block = data.get("hbo")
    method = block.get("method", "hbo") if isinstance(block, dict) else "hbo"
    for key in _NO_GRADIENT_PROBE:
        if data.get(key) and method == "hbo":
            msg = (
                f"`{key}` shards the gradients that `hbo.method: hbo` measures, and that is not supported yet: "
                f"train with DDP, or choose `method: temperature`."
            )
            raise ValueError(msg)
