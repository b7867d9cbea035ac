"""The `hbo:` block: every key with its default and bounds."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from hbo_plugin.messages import explain, unknown_dataset, yaml_text
from hbo_plugin.method_args import MethodConfig
from hbo_plugin.methods import Method, RunFacts, make_method
from hbo_plugin.methods.parameters import Moment, in_order, plain
from hbo_plugin.row_weights.settings import RowWeightsSettings, read, written

LEVELS = 4
"""The difficulty levels of a dataset for which none are set."""
MAX_EPOCHS = 4.0
"""The cap of a dataset that has none of its own, where the whole mixture is not repeated more often."""
_Above0 = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1, lt=2**63)]
_RowWeights = Annotated[RowWeightsSettings, BeforeValidator(read), PlainSerializer(written)]


class HBOConfig(MethodConfig):
    """The keys of the `hbo:` block: those of every run, and beside them the parameters of its method.

    All have a default, except for the parameters without which a method cannot work. The parameters are the fields
    of the method's `Settings`; `model_extra` has them as they were given.
    """

    update_every: _Count = Field(default=100, description="Optimizer steps between two updates of the weights.")
    unit: Literal["row", "token", "trained_token"] = Field(
        default="row",
        description="What weights are shares of: rows, as in the paper; tokens; or tokens that the model learns to predict, "
        "without masked prompts.",
    )
    signals: Literal["auto", "reuse", "probe"] = Field(
        default="auto",
        description="Where signals come from: training batches (`reuse`), extra passes (`probe`), or batches where they can (`auto`).",
    )
    levels: _Count | dict[str, _Count] = Field(
        default=LEVELS,
        description="Difficulty levels, of all datasets or by name; 1 balances datasets only, and is the default of "
        "`method: static`. A dataset with fewer rows has a level for each.",
    )
    difficulty: str = Field(
        default="length",
        min_length=1,
        description="How hard a row is: `length`, `loss`, `perplexity`, `ifd`, `margin` of a pair, or the name of a numeric column.",
    )
    scorer_model: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="A small model of the same tokenizer that scores `difficulty` in place of the run's own.",
    )
    max_epochs: _Above0 | Literal["auto"] | dict[str, _Above0 | Literal["auto"]] = Field(
        default=MAX_EPOCHS,
        description="How often a row may be repeated in the run, for all datasets or by name; null or .inf lifts the cap, and "
        "`auto` sets it when the loss of the dataset's own held-out set rises. The default is more in a run that repeats its "
        "whole mixture more often; shares written down, by `weights` or by a `prior` with `method: static`, have no default.",
    )
    val_set_size: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None,
        description="What single datasets hold out, by name: a share below 1, or a number of rows. "
        "The others follow Axolotl's `val_set_size`.",
    )
    hold_steps: Moment = Field(
        default=0.0,
        description="Optimizer steps that keep the prior before anything adapts it; below 1 a share of the run.",
    )
    gradient_rows: _Count = Field(default=32, description="Rows of a dataset that one gradient norm is measured on.")
    forward_rows: _Count = Field(default=16, description="Rows of a cell that one perplexity ratio is measured on.")
    copy_steps: _Count = Field(default=5, description="Steps that copies of the model make to measure `transfer`.")
    replacement: bool = Field(default=False, description="Draw with replacement, as the paper does.")
    seed: int | None = Field(default=None, ge=0, lt=2**63, description="Seed of the stream; Axolotl's `seed` if unset.")
    names: list[str] | None = Field(default=None, description="One name for each entry of `datasets:`.")
    group_by: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="A column, such as `source`, each value of which becomes a dataset named by it."
    )
    group_min_rows: _Count | None = Field(
        default=None,
        description="Values of `group_by` with fewer rows are merged into `other`, unless `hbo:` names them.",
    )
    log_levels: bool = Field(default=False, description="Log weights and signals of each level too.")
    record_rows: bool = Field(default=False, description="Write the rows of each step to `hbo_rows.jsonl`.")
    record_steering: bool = Field(default=False, description="Halve held-out sets; write the steering losses too.")
    stop_on_nan: bool = Field(default=False, description="End the run when an update measures no finite number.")
    held_out: dict[str, str] | None = Field(
        default=None, description="The held-out set of a dataset, where `test_datasets` calls it something else."
    )
    target: dict[str, _Above0] | list[str] | None = Field(
        default=None,
        description="The held-out sets that the run should be good at: a list, or a number for each; unset, all count alike. "
        "Half of their rows steer methods that look at them, the other half judges the run. Where they belong to some of the "
        "datasets, the default prior is target first: these by temperature up to `max_epochs`, and what is left evenly to "
        "the others.",
    )
    easiest: Literal["low", "high"] | None = Field(
        default=None,
        description="Which scores of `difficulty` are the easiest: a quality column wants `high`. Unset, the low "
        "ones are, and of `margin` the high ones.",
    )
    row_weights: _RowWeights | None = Field(
        default=None,
        description="How much the gradient of each row counts, beside the weights: `{column: NAME}`, a column of the data; "
        "`dwm`, a network that learns it; or the dotted path of a class of your own. Unset, all rows count alike.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, data: Any, handler: ModelWrapValidatorHandler["HBOConfig"]) -> "HBOConfig":
        """Put what pydantic refuses into the form of all errors."""
        try:
            return handler(data)
        except ValidationError as error:
            defaults = {name: field.default for name, field in cls.model_fields.items()}
            raise ValueError(explain(error, data, defaults)) from None

    @model_validator(mode="before")
    @classmethod
    def _nulls(cls, data: Any) -> Any:
        """Read an empty block as one without keys, and no cap as an infinite one."""
        if data is None:
            return {}
        if not isinstance(data, dict):
            msg = f"`hbo: {data!r}` was given, but `hbo:` is a block of keys; leave it empty to use every default."
            raise ValueError(msg)  # noqa: TRY004 pydantic reports a ValueError, and lets a TypeError through
        # Axolotl drops a key whose value is None, and with it the user's wish.
        epochs = data.get("max_epochs", MAX_EPOCHS)
        if isinstance(epochs, dict):
            return {**data, "max_epochs": {name: math.inf if cap is None else cap for name, cap in epochs.items()}}
        return {**data, "max_epochs": math.inf} if epochs is None else data

    @model_validator(mode="after")
    def _consistent(self) -> "HBOConfig":
        self._choose_method()
        self._check_places()
        settings = self._read()
        if self.is_static and self.hold_steps:
            msg = f"`hbo.hold_steps: {self.hold_steps:g}` was given, but the weights of `method: static` always hold; remove it."
            raise ValueError(msg)
        if self.hold_steps and hasattr(settings, "branch_at"):
            msg = f"`hbo.hold_steps: {self.hold_steps:g}` was given, but `branch_at` says when the weights change; remove it."
            raise ValueError(msg)
        every = getattr(settings, "update_every", self.update_every)
        cap = math.inf if self._shares_hold else self.max_epochs
        defaults = {"update_every": every, "levels": self._default_levels, "max_epochs": cap}
        # Straight into __dict__: an assignment would mark the keys as set by the user.
        self.__dict__.update((key, defaults[key]) for key in defaults.keys() - self.model_fields_set)
        return self

    def epochs_of(self, names: Sequence[str], average: float, watched: Collection[str] = ()) -> list[float]:
        """The cap of each dataset, in a run that repeats its whole mixture so often; `auto` is none for those `watched`."""
        default = math.inf if self._shares_hold else max(MAX_EPOCHS, average)
        caps = zip(names, self._caps(names, default), strict=True)
        return [cap if cap != "auto" else math.inf if name in watched else default for name, cap in caps]

    def auto_epochs(self, names: Sequence[str]) -> list[str]:
        """The datasets that `max_epochs: auto` stands for."""
        return [name for name, cap in zip(names, self._caps(names, MAX_EPOCHS), strict=True) if cap == "auto"]

    def _caps(self, names: Sequence[str], default: float) -> list[float | Literal["auto"]]:
        if isinstance(self.max_epochs, dict):
            return [self.max_epochs.get(name, default) for name in names]
        return [self.max_epochs if "max_epochs" in self.model_fields_set else default] * len(names)

    def notes_on_cap(self, average: float) -> list[str]:
        """What a user should know about the default cap of a run that repeats its whole mixture so often."""
        if "max_epochs" in self.model_fields_set or self._shares_hold or average <= MAX_EPOCHS:
            return []
        return [
            (
                f"the run goes through its whole mixture {average:.1f} times, which is then the default of `max_epochs`, so each "
                f"dataset follows its size; set `max_epochs` higher for other shares"
            )
        ]

    @property
    def _shares_hold(self) -> bool:
        """Whether a user wrote down the shares of the whole run: nothing caps them but a cap that stands beside them."""
        return self.is_static and bool(self.shares)

    @property
    def _default_levels(self) -> int:
        """Levels that nothing tells apart would only cost their scoring."""
        return 1 if self.is_static else LEVELS

    def effective(self) -> dict[str, str]:
        """Every key with the value in force, defaults included, as YAML has it."""
        keys = self.model_dump(include=type(self).model_fields.keys() - {"settings"})
        return {key: yaml_text(value) for key, value in (keys | plain(self._read())).items()}

    def levels_of(self, names: Sequence[str]) -> list[int]:
        """The difficulty levels of each dataset."""
        return [
            self.levels.get(name, self._default_levels) if isinstance(self.levels, dict) else self.levels
            for name in names
        ]

    def check_names(self, names: Sequence[str]) -> None:
        """Raise a ValueError where a key names a dataset that there is not."""
        key, phases = "prior" if "prior" in self._given() else "weights", self.shares
        by_name = [(each, getattr(self, each)) for each in ("max_epochs", "val_set_size", "levels", "held_out")]
        for where, given in [*by_name, *((key, shares) for shares in phases)]:
            for name in given if isinstance(given, Mapping) else ():
                if name not in names:
                    raise ValueError(unknown_dataset(where, name, names))
        for shares in phases:
            in_order(key, shares, names)
        if self.left_out.issuperset(names):
            msg = f"`hbo.{key}` is 0 for every dataset, but there must be one to draw; give one a number above 0."
            raise ValueError(msg)

    def facts(
        self,
        names: Sequence[str],
        *,
        seed: int,
        batch: int,
        target: Mapping[str, float] | None = None,
        counted: frozenset[str] = frozenset(),
    ) -> RunFacts:
        """What a method may know of a run on datasets of these names; see `RunFacts`."""
        keys = self.model_dump(include={"unit", "update_every", "gradient_rows"})
        return RunFacts(names=tuple(names), seed=seed, batch=batch, target=target or {}, counted=counted, **keys)

    def make_method(
        self, rows: NDArray[np.int64], names: Sequence[str], *, prior: Mapping[str, float] | None = None, **facts: Any
    ) -> Method:
        """The method of a run.

        Args:
            rows: of each cell, int64[datasets, levels].
            names: of the datasets.
            prior: the default one, by name, in place of the method's own.
            facts: what else `facts` takes.

        Raises:
            ValueError: a parameter that does not fit the datasets.
        """
        return make_method(self.method, rows, self._read(prior), self.facts(names, **facts))
