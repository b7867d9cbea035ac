"""Row weights from what the key has: which class is made, and what is refused before anything is loaded."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.row_weights.base import RowWeights, SeenRows
from hbo_plugin.row_weights.column import ColumnWeights
from hbo_plugin.row_weights.dwm import Dwm, DwmSettings
from hbo_plugin.row_weights.make import find_row_weights, make_row_weights
from hbo_plugin.row_weights.settings import ColumnSettings, RowWeightsSettings

FACTS = RunFacts(seed=3)


class LongAnswers(RowWeights):
    """A class of the user's."""

    def __init__(self, run: RunFacts) -> None:
        self.run = run

    def weights(self, rows: SeenRows) -> Any:
        return rows.tokens / rows.tokens.mean()


class Unfinished(RowWeights):
    """It lacks `weights`."""


@pytest.fixture
def _package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("my_package")
    vars(module).update(LongAnswers=LongAnswers, Unfinished=Unfinished, number=3, made=LongAnswers(FACTS))
    monkeypatch.setitem(sys.modules, "my_package", module)


def made(settings: RowWeightsSettings) -> RowWeights:
    values, trained = np.array([1.0, 3.0]), np.array([2, 2], np.int32)
    return make_row_weights(settings, FACTS, values=values, trained=trained, steps=10, levels=1)


@pytest.mark.usefixtures("_package")
def test_each_form_of_the_key_makes_its_class() -> None:
    own = made("my_package.LongAnswers")
    assert isinstance(own, LongAnswers)
    assert own.run is FACTS
    assert isinstance(made(DwmSettings()), Dwm)
    rows = SeenRows(*np.zeros((6, 2), np.int64))
    for normalise, expected in ((True, [0.5, 0.5]), (False, [1.0, 1.0])):
        column = made(ColumnSettings(column="quality", normalise=normalise))
        assert isinstance(column, ColumnWeights)
        column.begin_step(1, np.array([0, 1]))
        assert column.weights(rows).tolist() == expected


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("name", ["Unfinished", "number", "made"])
def test_what_gives_no_row_weights_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="row_weights") as caught:
        find_row_weights(f"my_package.{name}")
    assert str(caught.value) == (
        f"`hbo.row_weights: my_package.{name}` was given, but it is no subclass of "
        "`hbo_plugin.row_weights.base.RowWeights` with `weights()`; `python -m hbo_plugin docs extending` shows what row "
        "weights are."
    )


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no_such_package.Weights", "No module named 'no_such_package'"),
        ("my_package.Weights", "module 'my_package' has no attribute 'Weights'"),
    ],
)
def test_what_cannot_be_imported_is_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match="row_weights") as caught:
        find_row_weights(path)
    assert str(caught.value) == (
        f"`hbo.row_weights: {path}` was given, but it cannot be imported ({reason}); give the dotted path of a class that can."
    )


LEARNS = "`hbo.row_weights: dwm` learns from the gradient of held-out rows, but "
INSTEAD = "; or give a finished network, as in `row_weights: {dwm: PATH}`."
SHARDED = {"fsdp_config": {"reshard_after_forward": True}, "fsdp_version": 2}


def refusal(row_weights: Any, **changes: Any) -> str:
    """What is refused of a run on one file; nothing where it can train."""
    from axolotl.utils.dict import DictDefault

    from hbo_plugin.setup import Setup

    block = {"method": "static", "row_weights": row_weights}
    datasets = [{"path": "data/sums.jsonl", "ds_type": "json", "type": "alpaca"}]
    cfg = DictDefault({"hbo": block, "datasets": datasets, "micro_batch_size": 2, "batch_size": 2, **changes})
    try:
        Setup(cfg).refuse()
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.axolotl
@pytest.mark.parametrize("form", ["dwm", {"dwm": {"refresh_every": 5}}])
def test_a_network_that_learns_needs_held_out_rows_and_a_backward_pass(form: Any) -> None:
    no_rows = "there are no held-out rows; set `val_set_size` or `test_datasets`"
    assert refusal(form) == f"{LEARNS}{no_rows}{INSTEAD}"
    assert refusal(form, val_set_size=0.1) == ""
    spread = refusal(form, val_set_size=0.1, **SHARDED)
    assert spread.startswith(
        f"{LEARNS}`fsdp_config` spreads the model over ranks, where hbo cannot run a backward pass"
    )
    assert spread.endswith(INSTEAD)


@pytest.mark.axolotl
@pytest.mark.parametrize("form", [{"dwm": "hbo_dwm.json"}, {"column": "quality"}])
def test_what_learns_nothing_needs_neither(form: Any) -> None:
    assert refusal(form, **SHARDED) == ""
