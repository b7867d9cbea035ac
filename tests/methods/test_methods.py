"""What holds for every method in the table; and finding one by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from method_cases import FORMS, ROWS, build, column, make, random_signals, shape_of
from pydantic import TypeAdapter

from hbo_plugin.messages import yaml_text
from hbo_plugin.methods import METHODS, PUBLISHED, SIGNALS, RunFacts, find_method, find_settings
from hbo_plugin.methods.base import NoSettings, check_weights
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.parameters import parameters, read_settings
from hbo_plugin.methods.reading import by_dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hbo_plugin.methods import Method

    Signals = dict[str, NDArray[np.float64]]


@st.composite
def cells(draw: st.DrawFn) -> NDArray[np.int64]:
    """Rows of cells, some levels empty, no dataset empty."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    rows: NDArray[np.int64] = draw(hnp.arrays(np.int64, shape, elements=st.one_of(st.just(0), st.integers(0, 10**9))))
    rows[:, 0] += rows.sum(axis=1) == 0
    return rows


# Every float there is: NaN, infinities, zeros, negatives, subnormals; and ordinary ones and extreme ones, more often.
ANY = st.one_of(
    st.floats(width=64),
    st.floats(0.01, 10),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e-300, -1e-300, 1e300, -1e300]),
)


def any_signals(data: st.DataObject, method: Method, rows: NDArray[np.int64]) -> Signals:
    """What the method needs, of any values."""
    shapes = {name: shape_of(name, rows) for name in method.signals}
    return {name: data.draw(hnp.arrays(np.float64, shape, elements=ANY), label=name) for name, shape in shapes.items()}


def reloaded(name: str, method: Method, rows: NDArray[np.int64]) -> Method:
    """Another of the same method, that continues from the first one's state in JSON."""
    other = build(name, rows)
    other.load_state_dict(json.loads(json.dumps(method.state_dict(), allow_nan=False)))
    return other


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=40)
@given(data=st.data(), rows=cells())
def test_whatever_the_signals_the_weights_are_a_distribution_and_the_state_is_whole(
    name: str, data: st.DataObject, rows: NDArray[np.int64]
) -> None:
    method = build(name, rows)
    for _ in range(data.draw(st.integers(0, 3), label="updates")):
        signals = any_signals(data, method, rows)
        other = reloaded(name, method, rows)
        np.testing.assert_array_equal(other.weights(), method.weights())
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            method.update(signals)
        # The continued run gets NaN where the first one got infinity, and noise where there are no rows.
        noise = data.draw(ANY, label="noise")
        for key, values in signals.items():
            values[np.isinf(values)] = np.nan
            if SIGNALS[key].per_cell:
                values[rows == 0] = noise
        other.update(signals)
        np.testing.assert_array_equal(other.weights(), method.weights())
        assert other.state_dict() == method.state_dict()
    weights = method.weights()
    assert weights.dtype == np.float64
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(weights > 0, rows > 0)
    np.testing.assert_array_equal(weights == 0, rows == 0)


@pytest.mark.parametrize("name", FORMS)
def test_state_goes_through_json_and_continues_bit_for_bit(name: str) -> None:
    random = np.random.default_rng(5)
    stream = [random_signals(ROWS, random) for _ in range(8)]
    for stop in (0, 1, 4):
        method = build(name, ROWS)
        for signals in stream[:stop]:
            method.update(signals)
        restored = reloaded(name, method, ROWS)
        np.testing.assert_array_equal(restored.weights(), method.weights())
        for signals in stream[stop:]:
            method.update(signals)
            restored.update(signals)
            np.testing.assert_array_equal(restored.weights(), method.weights())


@pytest.mark.parametrize("name", FORMS)
def test_an_update_without_any_measurement_changes_no_weight(name: str) -> None:
    method = build(name, ROWS)
    random = np.random.default_rng(7)
    for signals in [random_signals(ROWS, random) for _ in range(3)]:
        method.update(signals)
        before = method.weights()
        method.update({key: np.full(values.shape, np.nan) for key, values in signals.items()})
        np.testing.assert_array_equal(method.weights(), before)


CAUTIOUS = ("branches", "tandem")
"""They move where a signal is beyond its noise, which tests of their own show."""


@pytest.mark.parametrize("name", [name for name in FORMS if build(name, ROWS).signals and name not in CAUTIOUS])
def test_signals_move_the_weights_and_those_handed_out_before_stay_as_they_were(name: str) -> None:
    method = build(name, ROWS)
    random = np.random.default_rng(11)
    first = method.weights()
    kept = first.copy()
    for _ in range(8):
        method.update(random_signals(ROWS, random))
    assert np.abs(method.weights() - kept).max() > 1e-4
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", FORMS)
def test_the_signals_are_in_the_table_and_each_of_them_is_needed(name: str) -> None:
    method = build(name, ROWS)
    assert set(method.signals) <= set(SIGNALS)
    whole = random_signals(ROWS, np.random.default_rng(2))
    method.update({key: whole[key] for key in method.signals})
    for signal in method.signals:
        with pytest.raises(ValueError, match="signal") as error:
            method.update({key: whole[key] for key in method.signals if key != signal})
        assert str(error.value) == (
            f"The signal `{signal}` is missing, but this method needs it at every update; measure it, or pass NaN."
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, 4], "The rows of the cells have shape `(2,)`, but it must be [datasets, levels]; reshape them."),
        ([[3, -4]], "A cell has `-4` rows, but it must have 0 or more; count them again."),
        ([[3], [0]], "Dataset number `1` has no rows, but every dataset needs at least 1; leave it out."),
    ],
)
@pytest.mark.parametrize("name", FORMS)
def test_impossible_rows_are_refused(name: str, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match="rows") as error:
        build(name, np.array(rows))
    assert str(error.value) == message


@pytest.mark.parametrize("name", [form for form in FORMS if form != "static"])
def test_a_state_of_other_cells_is_refused(name: str) -> None:
    state = build(name, np.array([[5, 5], [5, 5]])).state_dict()
    with pytest.raises(ValueError, match="saved state"):
        build(name, ROWS).load_state_dict(state)
    for key in state:
        with pytest.raises(ValueError, match="saved state"):
            build(name, np.array([[5, 5], [5, 5]])).load_state_dict({**state, key: ["x"]})


# Parameters, signals and states that are refused, in whole messages

SHARE = ("greater than or equal to 0", "less than or equal to 1")
FACTOR = ("greater than or equal to 0", "a finite number")
PRIOR = "`proportional` or `uniform` or {} or a block of keys"


@pytest.mark.parametrize(
    ("name", "parameter", "value", "allowed", "default"),
    [
        ("hbo", "prior", 0, PRIOR.format("greater than 0"), "3.0"),
        ("hbo", "prior", float("nan"), PRIOR.format("greater than 0"), "3.0"),
        ("hbo", "prior", "warm", PRIOR.format("a valid number"), "3.0"),
        ("hbo", "step_size", 0, "greater than 0", "0.5"),
        ("hbo", "step_size", 1.5, "less than or equal to 1", "0.5"),
        ("hbo", "floor", -0.1, SHARE[0], "0.05"),
        ("hbo", "floor", 2, SHARE[1], "0.05"),
        ("hbo", "ema_decay", 1, "less than 1", "0.5"),
        ("hbo", "exponent", -1, FACTOR[0], "0.5"),
        ("hbo", "exponent", float("inf"), FACTOR[1], "0.5"),
        ("mos", "reward", "loss", "`similarity` or `difference`", "difference"),
        ("mos", "reward", ["similarity"], "`similarity` or `difference`", "difference"),
        ("mos_plus", "ema_decay", None, "a valid number", "0.1"),
        ("multidds", "floor", 3, SHARE[1], "0.05"),
        ("multiuat", "reward", "perplexity", "`entropy` or `loss`", "entropy"),
        ("pike", "zeta_1", -1, FACTOR[0], "0.1"),
        ("pike", "zeta_2", float("nan"), FACTOR[1], "0.1"),
        ("dynamix", "ema_decay", 1, "less than 1", "0.95"),
        ("dynamix", "exponent", -5, FACTOR[0], "5.0"),
        ("dynamix", "floor", 1.5, SHARE[1], "0.3"),
        ("doremi", "step_size", "big", "a valid number", "1.0"),
        ("doremi", "floor", -1, SHARE[0], "0.001"),
        ("doremi", "prior", -1, PRIOR.format("greater than 0"), "uniform"),
        ("learning_progress", "shrinkage", 2, SHARE[1], "0.1"),
        ("static", "prior", -2, PRIOR.format("greater than 0"), "3.0"),
        ("random", "spread", 0.5, "greater than or equal to 1", "4.0"),
    ],
)
def test_a_parameter_out_of_its_bounds_is_refused(
    name: str, parameter: str, value: object, allowed: str, default: str
) -> None:
    with pytest.raises(ValueError, match=parameter) as error:
        read_settings(find_settings(name), {parameter: value})
    assert str(error.value) == (
        f"`hbo.{parameter}: {yaml_text(value)}` was given, but it must be {allowed}; "
        f"change it, or remove it for the default of `{default}`."
    )


@pytest.mark.parametrize("settings", [*(method.Settings for method in METHODS.values()), *PUBLISHED.values()])
def test_settings_are_frozen_and_every_parameter_is_described(settings: type) -> None:
    assert is_dataclass(settings)
    assert settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
    described = TypeAdapter(settings).json_schema().get("properties", {})
    assert list(described) == list(parameters(settings))
    assert all(entry["description"].endswith((".", ")")) for entry in described.values()), described


def test_signals_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="signal") as error:
        make("hbo", ROWS).update({"gradient_norm": np.ones(3), "perplexity_ratio": np.ones(3)})
    assert str(error.value) == (
        "The signal `perplexity_ratio` has shape `(3,)`, but it must be `(3, 3)`; pass one value for each."
    )


RESUME_METHOD = "resume with the method that the checkpoint was made with."
RESUME_DATA = "resume with the datasets and levels that the checkpoint was made with."
RESUME_BOTH = "resume with the method and the datasets that the checkpoint was made with."


@pytest.mark.parametrize(
    ("method", "state", "message"),
    [
        (
            make("static", ROWS),
            make("hbo", ROWS).state_dict(),
            f"The saved state of the method has no `phase`, so another method made it; {RESUME_METHOD}",
        ),
        (
            make("hbo", ROWS),
            {},
            f"The saved state of the method does not fit `3` datasets with a local actor each; {RESUME_BOTH}",
        ),
        (
            make("hbo", ROWS),
            make("hbo", ROWS[:2]).state_dict(),
            f"The saved state of the method does not fit `3` datasets with a local actor each; {RESUME_BOTH}",
        ),
        (
            make("hbo", ROWS, published=True),
            make("hbo", ROWS).state_dict(),
            f"The saved state of the method has no `logits`, so another method made it; {RESUME_METHOD}",
        ),
        (
            make("hbo", column(1, 1)),
            make("hbo", np.array([[1, 1], [1, 1]])).state_dict(),
            "The saved state of the method has `[0.5, 0.5, 0.5, 0.5]` for `weights`, but it must be 2 finite numbers; "
            + RESUME_DATA,
        ),
        (
            make("hbo", column(1)),
            {"global": {"weights": [None], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[None]` for `weights`, but it must be 1 finite numbers; {RESUME_DATA}",
        ),
        (
            make("hbo", column(1)),
            {"global": {"weights": [{}], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[{{}}]` for `weights`, but it must be 1 finite numbers; {RESUME_DATA}",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(method: Method, state: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="saved state") as error:
        method.load_state_dict(state)
    assert str(error.value) == message


# A signal of cells as one of datasets


def test_a_dataset_s_mean_is_over_its_measured_cells_weighted_with_their_rows() -> None:
    rows = np.array([[1, 3, 0], [5, 5, 5], [2, 2, 2]])
    values = np.array([[4.0, 8.0, 1e9], [1.0, np.nan, 2.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(by_dataset(values, rows), [7.0, 1.5, np.nan], rtol=1e-15)
    np.testing.assert_array_equal(by_dataset(values[0], rows), values[0])


# Finding a method


def a_module(monkeypatch: pytest.MonkeyPatch, **contents: object) -> None:
    """Make `their_methods` importable, with these contents."""
    module = ModuleType("their_methods")
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, "their_methods", module)


def test_a_method_is_found_by_its_name_or_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_method("pike") is METHODS["pike"]
    mine: Any = type("Mine", (Hbo,), {})
    a_module(monkeypatch, Mine=mine)
    assert find_method("their_methods.Mine") is mine
    assert find_method("hbo_plugin.methods.hbo.Hbo") is METHODS["hbo"]


NAMES = f"{', '.join(f'`{name}`' for name in METHODS)}, or the dotted path of a class, as in `my_package.MyMethod`"


def test_a_name_that_is_no_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="method") as error:
        find_method("dinamix")
    assert str(error.value) == (f"`hbo.method: dinamix` was given, but it must be {NAMES}; did you mean `dynamix`?")


def test_only_what_has_a_published_form_can_be_published() -> None:
    assert [name for name in METHODS if name in PUBLISHED] == list(PUBLISHED)
    with pytest.raises(ValueError, match="published") as error:
        find_settings("doremi", published=True)
    assert str(error.value) == (
        "`hbo.published: true` was given with the method `doremi`, but only `hbo`, `mos`, `mos_plus`, `multidds`, "
        "`multiuat`, `tandem`, `scalebio` have a published form; remove it."
    )


class NoUpdate:
    Settings = NoSettings
    weights = state_dict = load_state_dict = Hbo.weights


class NoDataclass(Hbo):
    Settings = dict


class NeedsMore(Hbo):
    def __init__(self, rows: NDArray[np.int64], settings: Any, run: RunFacts, extra: int) -> None:
        super().__init__(rows, settings, run)


SEE = "`python -m hbo_plugin docs extending` shows what a method is."


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (
            "no_such_package.Mine",
            "cannot be imported (No module named 'no_such_package'); give the dotted path of a class that can.",
        ),
        (
            "their_methods.Yours",
            (
                "cannot be imported (module 'their_methods' has no attribute 'Yours'); "
                "give the dotted path of a class that can."
            ),
        ),
        ("their_methods.number", f"is `5` and not a class; {SEE}"),
        ("their_methods.NoUpdate", f"has no method `update`; {SEE}"),
        ("their_methods.NoDataclass", f"has no `Settings`, a dataclass of its parameters; {SEE}"),
        (
            "their_methods.NeedsMore",
            (
                "cannot be built from its rows, its settings and the run's facts "
                f"(missing a required argument: 'extra'); {SEE}"
            ),
        ),
        (".Mine", f"must be {NAMES}; `python -m hbo_plugin docs methods` describes them."),
    ],
)
def test_a_path_that_leads_to_no_method_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, wrong: str) -> None:
    a_module(monkeypatch, number=5, NoUpdate=NoUpdate, NoDataclass=NoDataclass, NeedsMore=NeedsMore)
    with pytest.raises(ValueError, match="method") as error:
        find_method(name)
    assert str(error.value) == f"`hbo.method: {name}` was given, but it {wrong}"


# The weights that a method gives


def test_weights_of_a_method_pass_their_check() -> None:
    check_weights("x", make("hbo", ROWS).weights(), ROWS)
    check_weights("x", np.array([[0.1, 0.3], [0.6, 0.0]], dtype=np.float32), np.array([[1, 1], [1, 0]]))
    check_weights("x", np.array([[1.0, 0.0]]), np.array([[1, 1]]))  # a cell may be switched off


@pytest.mark.parametrize(
    ("weights", "wrong"),
    [
        ([0.5, 0.5], "weights of shape `(2,)`, but it must be `(2, 2)`, one weight for each cell"),
        ([[0.5, np.nan], [0.5, 0]], "the weight `nan`, but it must be 0 or more, and finite"),
        ([[0.5, np.inf], [0.5, 0]], "the weight `inf`, but it must be 0 or more, and finite"),
        ([[1.5, -0.5], [0, 0]], "the weight `-0.5`, but it must be 0 or more, and finite"),
        ([[0.5, 0.25], [0.5, 0]], "weights whose sum is `1.25`, but it must be 1"),
        ([[0, 0], [0, 0]], "weights whose sum is `0`, but it must be 1"),
        ([[0.5, 0.25], [0, 0.25]], "the weight `0.25` to a cell without rows, but it must be 0 there"),
    ],
)
def test_weights_that_are_no_distribution_are_refused(weights: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match="my_package") as error:
        check_weights("my_package.Mine", np.array(weights), np.array([[3, 4], [5, 0]]))
    assert str(error.value) == f"The method `my_package.Mine` gave {wrong}; correct its `weights()`."


def test_methods_import_neither_torch_nor_axolotl() -> None:
    """Every module in the folder, in a process of its own."""
    program = """
import importlib, pkgutil, sys
import hbo_plugin.methods
found = [module.name for module in pkgutil.walk_packages(hbo_plugin.methods.__path__, "hbo_plugin.methods.")]
for name in found:
    importlib.import_module(name)
assert "hbo_plugin.methods.published.doremi" in found, found
print(sorted({"torch", "axolotl", "transformers", "datasets", "accelerate"} & {name.split(".")[0] for name in sys.modules}))
"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


def test_a_method_whose_weights_are_no_distribution_is_stopped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the balancer reads them, before the first row is drawn."""
    from hbo_plugin.args import HBOConfig
    from hbo_plugin.cells import Cells
    from hbo_plugin.training.balancer import Balancer

    class Mine(Hbo):
        def weights(self) -> NDArray[np.float64]:
            return 2 * super().weights()

    a_module(monkeypatch, Mine=Mine)
    config = HBOConfig.model_validate({"method": "their_methods.Mine"})
    sizes = np.array([[3, 4]])
    cells = Cells(("a",), sizes, np.ones(7, np.int32), np.ones(7, np.int32), ("x",))
    with pytest.raises(ValueError, match=r"`their_methods\.Mine` gave weights whose sum is `2`, but it"):
        Balancer(cells, config, config.make_method(sizes, ("a",), seed=0, batch=4), seed=0, steps=7, capacity=1)
