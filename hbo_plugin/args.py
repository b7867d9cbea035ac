"""The `hbo:` block: every key with its default and bounds."""

import difflib
import inspect
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hbo_plugin.methods import Method, find_method
from hbo_plugin.methods.actors import CORRECTIONS
from hbo_plugin.options import refuse_incompatible

MODEL_SCORES = ("loss", "perplexity", "ifd")
"""The kinds of difficulty that run the initial model over the data once."""

LEVELS = 4
"""The difficulty levels of a dataset for which none are set."""
MAX_EPOCHS = 10.0
"""The cap of a dataset that has none of its own."""
_Above0 = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1, lt=2**63)]

_METHOD_KEYS = ("reference", "temperature", "rate", "floor", "smoothing", "strength", "reward")
"""Keys of the block that go to the method, where they are set; what they mean is alike in all methods that have them."""
_FROM_THE_RUN = ("names", "seed", "batch", "gradient_rows")
"""Parameters of a method that the run fills in."""


class HBOConfig(BaseModel):
    """The keys of the `hbo:` block. All are optional."""

    model_config = ConfigDict(extra="forbid")

    method: str = Field(
        default="hbo",
        description="The rule that turns signals into weights: a name in docs/methods.md, or the import path of a class.",
    )
    reference: bool | None = Field(
        default=None,
        description="The update rule of the published code, to the number. With `method: hbo` it changes the defaults "
        "of `update_every` to 200 and of `temperature` to 1, as published.",
    )
    update_every: _Count = Field(default=100, description="Optimizer steps between two updates of the weights.")
    temperature: float | None = Field(
        default=None,
        gt=0,
        description="The prior of a dataset is rows ** (1 / temperature): 1 is proportional, .inf is uniform. "
        "`hbo` takes 3 if unset.",
    )
    unit: Literal["row", "token"] = Field(
        default="row", description="What weights are shares of: rows, as in the paper, or tokens."
    )
    signals: Literal["auto", "reuse", "probe"] = Field(
        default="auto",
        description="Where signals come from: the training batches, passes of their own, or the first where it can be.",
    )
    levels: _Count | dict[str, _Count] = Field(
        default=LEVELS,
        description="Difficulty levels, of all datasets or by name; 1 balances datasets only. "
        "A dataset with fewer rows has a level for each.",
    )
    difficulty: str = Field(
        default="length",
        min_length=1,
        description="How hard a row is: `length`, `loss`, `perplexity`, `ifd`, or the name of a numeric column.",
    )
    rate: float | None = Field(
        default=None, gt=0, le=1, description="How far one update goes towards its target; 0.5 if unset."
    )
    floor: float | None = Field(
        default=None, ge=0, le=1, description="Share of the prior that is always kept in the weights; 0.05 if unset."
    )
    smoothing: float | None = Field(
        default=None, ge=0, lt=1, description="Share of the old average that a new signal keeps; 0.5 if unset."
    )
    strength: float | None = Field(
        default=None, ge=0, le=10, description="Exponent of a signal in the target; 0.5 if unset."
    )
    reward: dict[str, str] | str | None = Field(
        default=None,
        description="The signals that reward the actors; for `hbo`, "
        "{global: gradient_norm, local: perplexity_ratio} if unset.",
    )
    settings: dict[str, Any] | None = Field(
        default=None, description="Settings of one method alone: docs/methods.md names them."
    )
    max_epochs: _Above0 | dict[str, _Above0] = Field(
        default=MAX_EPOCHS,
        description="How often a row may be repeated in the run, for all datasets or by name; null or .inf lifts the cap.",
    )
    val_set_size: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        description="What single datasets hold out, by name: a share below 1, or a number of rows. "
        "The others follow Axolotl's `val_set_size`.",
    )
    gradient_rows: _Count = Field(default=32, description="Rows of a dataset that one gradient norm is measured on.")
    forward_rows: _Count = Field(default=16, description="Rows of a cell that one perplexity ratio is measured on.")
    replacement: bool = Field(default=False, description="Draw with replacement, as the paper does.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Seed of the stream; Axolotl's `seed` if unset.")
    names: list[str] | None = Field(default=None, description="One name for each entry of `datasets:`.")
    record_rows: bool = Field(default=False, description="Write the rows of each step to `hbo_rows.jsonl`.")
    held_out: dict[str, str] | None = Field(
        default=None,
        description="The held-out set of a dataset, by name, where `test_datasets` calls it something else.",
    )
    easiest: Literal["low", "high"] = Field(
        default="low", description="Which scores of `difficulty` are the easiest: a quality column wants `high`."
    )

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
        # Axolotl drops a key whose value is None, and with it the user's wish.
        laps = data.get("max_epochs", MAX_EPOCHS)
        if isinstance(laps, dict):
            return {**data, "max_epochs": {name: math.inf if most is None else most for name, most in laps.items()}}
        return {**data, "max_epochs": math.inf} if laps is None else data

    @model_validator(mode="after")
    def _consistent(self) -> "HBOConfig":
        if self.names and len(set(self.names)) != len(self.names):
            msg = f"`hbo.names: {self.names}` holds a name twice; give every dataset a name of its own."
            raise ValueError(msg)
        if self.method_name == "hbo_reference" and "update_every" not in self.model_fields_set:
            # Straight into __dict__: an assignment would mark the key as set by the user.
            self.__dict__["update_every"] = 200
        self.method_settings()
        return self

    def epochs_of(self, names: Sequence[str]) -> list[float]:
        """The cap of each dataset."""
        laps = self.max_epochs
        return [laps.get(name, MAX_EPOCHS) if isinstance(laps, dict) else laps for name in names]

    def levels_of(self, names: Sequence[str]) -> list[int]:
        """The difficulty levels of each dataset."""
        return [self.levels.get(name, LEVELS) if isinstance(self.levels, dict) else self.levels for name in names]

    def check_names(self, names: Sequence[str]) -> None:
        """Raise a ValueError where a key names a dataset that there is not."""
        for key in ("max_epochs", "val_set_size", "levels", "held_out"):
            given = getattr(self, key)
            for name in given if isinstance(given, dict) else ():
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
                    msg = (
                        f"`hbo.{key}` names the dataset `{name}`; the nearest is `{near}`. "
                        f"There are {', '.join(f'`{known}`' for known in names)}; `hbo.names` gives others."
                    )
                    raise ValueError(msg)

    @property
    def method_name(self) -> str:
        """The name of the method among all that there are."""
        return "hbo_reference" if self.method == "hbo" and self.reference else self.method

    def method_settings(self) -> dict[str, Any]:
        """What the block says to its method; a ValueError for what that method does not have."""
        missing = (*_FROM_THE_RUN, *(CORRECTIONS if self.reference else ()))
        parameters = list(inspect.signature(find_method(self.method_name)).parameters)[1:]
        known = [key for key in parameters if key not in missing]
        given = {key: value for key in _METHOD_KEYS if (value := getattr(self, key)) is not None}
        if self.method == "hbo" or not self.reference:
            given.pop("reference", None)
        own = self.settings or {}
        for key in (*given, *own):
            if key not in known:
                where = "hbo" if key in given else "hbo.settings"
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
                published = " with `reference: true`" if self.reference and key in CORRECTIONS else ""
                msg = f"`{where}.{key}` is no setting of the method `{self.method}`{published}" + (
                    f", whose nearest is `{near[0]}`; it has {', '.join(f'`{name}`' for name in known)}."
                    if near
                    else ", which has none; remove it."
                )
                raise ValueError(msg)
        return given | own

    def make_method(self, rows: NDArray[np.int64], names: Sequence[str], *, seed: int, batch: int) -> Method:
        """The method of a run.

        Args:
            rows: of each cell, int64[datasets, levels].
            names: of the datasets.
            seed: of the run.
            batch: rows of an optimizer step.

        Raises:
            ValueError: a setting that the method refuses.
        """
        make = find_method(self.method_name)
        run = {"names": tuple(names), "seed": seed, "batch": batch, "gradient_rows": self.gradient_rows}
        wanted = {key: value for key, value in run.items() if key in inspect.signature(make).parameters}
        return make(rows, **self.method_settings(), **wanted)


class HBOArgs(BaseModel):
    """What the plugin adds to Axolotl's schema."""

    hbo: HBOConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _compatible(cls, data: Any) -> Any:
        if isinstance(data, dict) and "hbo" in data:
            refuse_incompatible(data)
        return data
