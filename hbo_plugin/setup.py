"""Setup: from a configuration to what a run is built of, refused as early as can be."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hbo_plugin import compat, kinds, options
from hbo_plugin.args import HBOConfig
from hbo_plugin.data.held_out import counted, holds_out, target_shares, ties
from hbo_plugin.data.load import RunData, load
from hbo_plugin.data.mixture import Mixture, find_mixture
from hbo_plugin.features import MODEL_SCORES, SCORES_TOLD
from hbo_plugin.messages import all_of, listed
from hbo_plugin.methods import Method
from hbo_plugin.row_weights.base import LearnsFromInfluence, RowWeights
from hbo_plugin.row_weights.dwm import DwmSettings
from hbo_plugin.row_weights.make import find_row_weights, make_row_weights
from hbo_plugin.signals.choice import Choice, choose
from hbo_plugin.signals.needs import without_influence
from hbo_plugin.training.planned_shape import planned_shape
from hbo_plugin.training.step_shape import StepShape
from hbo_plugin.training.target_first import target_first


def read_config(path: Path, **options: Any) -> Any:
    """Axolotl's configuration in a file, with an `hbo:` block; the options are those of Axolotl's commands.

    Raises:
        ValueError: there is no block.
    """
    # As `axolotl preprocess` does, so that Axolotl starts no DeepSpeed.
    os.environ["AXOLOTL_IS_PREPROCESS"] = "1"
    cfg = compat.load_config(path, **options)
    if cfg.hbo is None:
        msg = (
            f"`{path}` has no `hbo:` block that Axolotl would hand on; add `hbo:`, and "
            f"`plugins: [hbo_plugin.HBOPlugin]`."
        )
        raise ValueError(msg)
    return cfg


class Setup:
    """The parts of a run, each made when it is first asked for; a ValueError says why one cannot be."""

    def __init__(self, cfg: Any, *, scores_missing: bool = True) -> None:
        """Make nothing yet.

        Args:
            cfg: Axolotl's configuration.
            scores_missing: whether the model is run on rows that have no difficulty yet.
        """
        self.config = HBOConfig.model_validate(cfg.hbo.to_dict())
        self.seed: int = cfg.seed or 0 if self.config.seed is None else self.config.seed
        self._cfg = cfg
        self._scores_missing = scores_missing

    def refuse(self) -> None:
        """Refuse what is wrong before a row is tokenised, all of it at once."""
        kinds.refuse(self._cfg, self.config)
        all_of(
            (
                lambda: self._target,
                lambda: self._tied,
                lambda: self._auto,
                lambda: self._trial,
                lambda: self.choice,
                self._check_row_weights,
                self._check_scorer,
                self._check_steering,
            )
        )

    def _check_scorer(self) -> None:
        """Refuse a model that has nothing to score."""
        name, kind = self.config.scorer_model, self.config.difficulty
        if name is not None and kind not in MODEL_SCORES:
            msg = (
                f"`hbo.scorer_model: {name}` was given, but no model scores `difficulty: {kind}`; set it to "
                f"{SCORES_TOLD}, or remove `scorer_model`."
            )
            raise ValueError(msg)

    def _check_steering(self) -> None:
        """Refuse to measure what needs passes of its own where there can be none."""
        if self.config.record_steering and not self.choice.passes:
            msg = "`hbo.record_steering: true` was given, but hbo cannot run this model apart from its training; remove it."
            raise ValueError(msg)

    def _check_row_weights(self) -> None:
        """Refuse row weights where they cannot act, or cannot learn."""
        given = self.config.row_weights
        if given is None:
            return
        if message := options.without_row_weights(self._cfg):
            raise ValueError(message)
        if isinstance(given, str):
            find_row_weights(given)
        if self._learns and (reason := without_influence(self._cfg, held_out=bool(self._sets))):
            msg = (
                f"`hbo.row_weights: dwm` learns from the gradient of held-out rows, but {reason}; or give a finished network, "
                f"as in `row_weights: {{dwm: PATH}}`."
            )
            raise ValueError(msg)

    @property
    def _learns(self) -> bool:
        """Whether row weights learn from held-out rows."""
        given = self.config.row_weights
        if isinstance(given, str):
            return issubclass(find_row_weights(given), LearnsFromInfluence)
        return isinstance(given, DwmSettings) and given.path is None

    @cached_property
    def choice(self) -> Choice:
        """Which source measures which signal."""
        return choose(
            self._cfg,
            self.config,
            self._trial.signals,
            held_out=bool(self._sets),
            tied=bool(self._tied),
            watches=bool(self._auto),
        )

    @cached_property
    def data(self) -> RunData:
        """The data, in cells."""
        return load(
            self._cfg,
            self.config,
            self._mixture,
            steers=self.choice.steers or self._learns or self.config.record_steering,
            scores_missing=self._scores_missing,
        )

    @cached_property
    def shape(self) -> StepShape:
        """Of an optimizer step, as Axolotl's trainer will have it."""
        return planned_shape(self._cfg, self.data.steps(self._cfg))

    @cached_property
    def method(self) -> Method:
        """The method, which starts target first where the target is some of the datasets."""
        cells, prior, first = self.data.cells, None, self.counted
        if self.config.target and self.config.takes_default_prior and 0 < len(first) < len(cells.names):
            prior = target_first(
                cells,
                self.config,
                first,
                steps=self.shape.steps,
                capacity=self.shape.capacity,
                packed=self.shape.bins is not None,
            )
            self.data.notes.append(
                f"the prior is target first: {listed(name for name in cells.names if name in first)} up to "
                f"`max_epochs`, and what is left evenly to the others"
            )
        return self._make_method(cells.sizes, cells.names, prior)

    @cached_property
    def row_weights(self) -> RowWeights | None:
        """The row weights; None where all rows count alike."""
        if self.config.row_weights is None:
            return None
        cells = self.data.cells
        run = self.config.facts(cells.names, **self._facts)
        return make_row_weights(
            self.config.row_weights,
            run,
            values=self.data.row_values,
            trained=cells.trained,
            steps=self.shape.steps,
            levels=cells.levels,
        )

    @cached_property
    def _mixture(self) -> Mixture:
        return find_mixture(self._cfg, self.config)

    @cached_property
    def _trial(self) -> Method:
        """The method, on as many rows as there can be."""
        names = self._mixture.names
        rows = np.ones((len(names), max(self.config.levels_of(names))), np.int64)
        return self._make_method(rows, names)

    def _make_method(
        self, rows: NDArray[np.int64], names: Sequence[str], prior: Mapping[str, float] | None = None
    ) -> Method:
        return self.config.make_method(rows, names, prior=prior, **self._facts)

    @property
    def _facts(self) -> dict[str, Any]:
        """What a method and row weights may know of the run, beside the names of its datasets."""
        return {
            "seed": self.seed,
            "batch": self._cfg.batch_size,
            "target": self._target,
            "counted": self.counted,
        }

    @cached_property
    def _sets(self) -> list[str]:
        """The held-out sets."""
        held_by = self._cfg.val_set_size or 0, self.config.val_set_size or {}
        return self._mixture.sets or [name for name in self._mixture.all_names if holds_out(*held_by, name)]

    @cached_property
    def _tied(self) -> dict[str, str]:
        """The held-out set of each dataset that has one."""
        return ties(self._mixture.names, self._sets, self.config.held_out or {})

    @cached_property
    def _auto(self) -> list[str]:
        """The datasets that `max_epochs: auto` stands for; some must have a held-out set, and all that are named."""
        auto = self.config.auto_epochs(self._mixture.names)
        untied = [name for name in auto if name not in self._tied]
        if untied and (isinstance(self.config.max_epochs, dict) or len(untied) == len(auto)):
            msg = (
                f"`hbo.max_epochs: auto` was given, but no held-out set belongs to {listed(untied)}; set `val_set_size`, or "
                f"`hbo.held_out: {{dataset: set}}`, or give a number."
            )
            raise ValueError(msg)
        return auto

    @cached_property
    def _target(self) -> dict[str, float]:
        """How much each held-out set counts."""
        return target_shares(self.config.target, self._sets)

    @property
    def counted(self) -> frozenset[str]:
        """The datasets that count."""
        return counted(self._tied, self._target)
