"""What holds for every method in the table; and finding one by its name."""

from __future__ import annotations

import inspect
import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from method_cases import ROWS, build, column, random_signals

from hbo_plugin.methods import METHODS, SIGNALS, find_method
from hbo_plugin.methods.hbo import Hbo
from hbo_plugin.methods.published.hbo import HboReference
from hbo_plugin.methods.signals import by_dataset

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
    shapes = {name: rows.shape if SIGNALS[name].per_cell else rows.shape[:1] for name in method.signals}
    return {name: data.draw(hnp.arrays(np.float64, shape, elements=ANY), label=name) for name, shape in shapes.items()}


def reloaded(name: str, method: Method, rows: NDArray[np.int64]) -> Method:
    """Another of the same method, that continues from the first one's state in JSON."""
    other = build(name, rows)
    other.load_state_dict(json.loads(json.dumps(method.state_dict(), allow_nan=False)))
    return other


@pytest.mark.parametrize("name", METHODS)
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
        for values in signals.values():
            values[np.isinf(values)] = np.nan
            if values.ndim == 2:
                values[rows == 0] = noise
        other.update(signals)
        np.testing.assert_array_equal(other.weights(), method.weights())
        assert other.state_dict() == method.state_dict()
    weights = method.weights()
    assert weights.dtype == np.float64
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_array_equal(weights > 0, rows > 0)
    np.testing.assert_array_equal(weights == 0, rows == 0)


@pytest.mark.parametrize("name", METHODS)
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


@pytest.mark.parametrize("name", METHODS)
def test_an_update_without_any_measurement_changes_no_weight(name: str) -> None:
    method = build(name, ROWS)
    random = np.random.default_rng(7)
    for signals in [random_signals(ROWS, random) for _ in range(3)]:
        method.update(signals)
        before = method.weights()
        method.update({key: np.full(values.shape, np.nan) for key, values in signals.items()})
        np.testing.assert_array_equal(method.weights(), before)


@pytest.mark.parametrize("name", [name for name in METHODS if build(name, ROWS).signals])
def test_signals_move_the_weights_and_those_handed_out_before_stay_as_they_were(name: str) -> None:
    method = build(name, ROWS)
    random = np.random.default_rng(11)
    first = method.weights()
    kept = first.copy()
    for _ in range(8):
        method.update(random_signals(ROWS, random))
    assert np.abs(method.weights() - kept).max() > 1e-4
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", METHODS)
def test_the_signals_are_in_the_table_and_each_of_them_is_needed(name: str) -> None:
    method = build(name, ROWS)
    assert set(method.signals) <= set(SIGNALS)
    whole = random_signals(ROWS, np.random.default_rng(2))
    method.update({key: whole[key] for key in method.signals})
    for signal in method.signals:
        with pytest.raises(ValueError, match="signal") as error:
            method.update({key: whole[key] for key in method.signals if key != signal})
        assert str(error.value) == (
            f"The signal `{signal}` is missing, but this method needs it at every update: measure it, or pass NaN."
        )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3, 4], "The rows of the cells have shape `(2,)`, but it must be [datasets, levels]: reshape them."),
        ([[3, -4]], "A cell has `-4` rows, but it must have 0 or more: count them again."),
        ([[3], [0]], "Dataset number `1` has no rows, but every dataset needs at least 1: leave it out."),
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_impossible_rows_are_refused(name: str, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match="rows") as error:
        build(name, np.array(rows))
    assert str(error.value) == message


@pytest.mark.parametrize("name", [name for name in METHODS if build(name, ROWS).state_dict()])
def test_a_state_of_other_cells_is_refused(name: str) -> None:
    state = build(name, np.array([[5, 5], [5, 5]])).state_dict()
    with pytest.raises(ValueError, match="saved state"):
        build(name, ROWS).load_state_dict(state)
    for key in state:
        with pytest.raises(ValueError, match="saved state"):
            build(name, np.array([[5, 5], [5, 5]])).load_state_dict({**state, key: ["x"]})


# Settings, signals and states that are refused, in whole sentences


@pytest.mark.parametrize(
    ("name", "setting", "value", "allowed"),
    [
        ("hbo", "temperature", 0, "above 0"),
        ("hbo", "temperature", float("nan"), "above 0"),
        ("hbo", "temperature", "warm", "above 0"),
        ("hbo", "rate", 0, "above 0 and at most 1"),
        ("hbo", "rate", 1.5, "above 0 and at most 1"),
        ("hbo", "floor", -0.1, "between 0 and 1"),
        ("hbo", "floor", 2, "between 0 and 1"),
        ("hbo", "smoothing", 1, "at least 0 and below 1"),
        ("hbo", "strength", -1, "0 or more, and finite"),
        ("hbo", "strength", float("inf"), "0 or more, and finite"),
        ("mos", "reward", "loss", "`similarity` or `difference`"),
        ("mos", "reward", ["similarity"], "`similarity` or `difference`"),
        ("mos_plus", "smoothing", None, "at least 0 and below 1"),
        ("multidds", "floor", 3, "between 0 and 1"),
        ("multiuat", "reward", "loss", "`entropy` or `perplexity`"),
        ("pike", "zeta_1", -1, "0 or more, and finite"),
        ("pike", "zeta_2", float("nan"), "0 or more, and finite"),
        ("pike", "batch", 0, "at least 1"),
        ("pike", "gradient_rows", 0, "at least 1"),
        ("dynamix", "smoothing", 1, "at least 0 and below 1"),
        ("dynamix", "strength", -5, "0 or more, and finite"),
        ("dynamix", "floor", 1.5, "between 0 and 1"),
        ("doremi", "step", "big", "0 or more, and finite"),
        ("doremi", "floor", -1, "between 0 and 1"),
        ("learning_progress", "shrinkage", 2, "between 0 and 1"),
        ("temperature", "temperature", -2, "above 0"),
        ("capped", "limit", 0, "at least 1"),
        ("random", "seed", -1, "a whole number, 0 or more"),
        ("random", "spread", 0.5, "1 to 1000"),
    ],
)
def test_a_setting_out_of_its_bounds_is_refused(name: str, setting: str, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=setting) as error:
        METHODS[name](ROWS, **{setting: value})
    assert str(error.value) == (
        f"`{setting}` is `{value}`, but it must be {allowed}: change it, or leave it out for its default."
    )


def test_signals_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="signal") as error:
        Hbo(ROWS).update({"gradient_norm": np.ones(3), "perplexity_ratio": np.ones(3)})
    assert str(error.value) == (
        "The signal `perplexity_ratio` has shape `(3,)`, but it must be `(3, 3)`: pass one value for each."
    )


RESUME_METHOD = "resume with the method that the checkpoint was made with."
RESUME_DATA = "resume with the datasets and levels that the checkpoint was made with."
RESUME_BOTH = "resume with the method and the datasets that the checkpoint was made with."


@pytest.mark.parametrize(
    ("method", "state", "message"),
    [
        (
            METHODS["uniform"](ROWS),
            Hbo(ROWS).state_dict(),
            f"The saved state of the method has `global`, but a static method saves nothing: {RESUME_METHOD}",
        ),
        (
            Hbo(ROWS),
            {},
            f"The saved state of the method does not fit `3` datasets with a local actor each: {RESUME_BOTH}",
        ),
        (
            Hbo(ROWS),
            Hbo(ROWS[:2]).state_dict(),
            f"The saved state of the method does not fit `3` datasets with a local actor each: {RESUME_BOTH}",
        ),
        (
            HboReference(ROWS),
            Hbo(ROWS).state_dict(),
            f"The saved state of the method has no `logits`, so another method made it: {RESUME_METHOD}",
        ),
        (
            Hbo(column(1, 1)),
            Hbo(np.array([[1, 1], [1, 1]])).state_dict(),
            "The saved state of the method has `[0.5, 0.5]` for `weights`, but it must be 1 finite numbers: "
            + RESUME_DATA,
        ),
        (
            Hbo(column(1)),
            {"global": {"weights": [None], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[None]` for `weights`, but it must be 1 finite numbers: {RESUME_DATA}",
        ),
        (
            Hbo(column(1)),
            {"global": {"weights": [{}], "average": [None]}, "local": [{}]},
            f"The saved state of the method has `[{{}}]` for `weights`, but it must be 1 finite numbers: {RESUME_DATA}",
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
    mine = type("Mine", (Hbo,), {})
    a_module(monkeypatch, Mine=mine)
    assert find_method("their_methods.Mine") is mine
    assert find_method("hbo_plugin.methods.hbo.Hbo") is Hbo


def test_a_name_that_is_no_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no method") as error:
        find_method("dinamix")
    assert str(error.value) == (
        "There is no method `dinamix`; the nearest is `dynamix`. Name one of "
        f"{', '.join(f'`{name}`' for name in METHODS)}, or the dotted path of a class, as in `my_package.MyMethod`."
    )


class NoUpdate:
    weights = state_dict = load_state_dict = Hbo.weights


class NeedsMore(Hbo):
    def __init__(self, rows: NDArray[np.int64], extra: int) -> None:
        super().__init__(rows, strength=extra)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "no_such_package.Mine",
            (
                "The method `no_such_package.Mine` cannot be imported (No module named 'no_such_package'): "
                "give the dotted path of a class that can."
            ),
        ),
        (
            "their_methods.Yours",
            (
                "The method `their_methods.Yours` cannot be imported (module 'their_methods' has no attribute 'Yours'): "
                "give the dotted path of a class that can."
            ),
        ),
        (
            "their_methods.number",
            (
                "The method `their_methods.number` is `5`, but it must be a class: "
                "see `hbo_plugin.methods.Method` for what a method is."
            ),
        ),
        (
            "their_methods.NoUpdate",
            (
                "The method `their_methods.NoUpdate` has no method `update`, but it must have one: "
                "see `hbo_plugin.methods.Method` for what a method is."
            ),
        ),
        (
            "their_methods.NeedsMore",
            (
                "The method `their_methods.NeedsMore` cannot be built from the rows alone (missing a required argument: "
                "'extra'), but every other parameter must have a default: "
                "see `hbo_plugin.methods.Method` for what a method is."
            ),
        ),
        (
            ".Mine",
            (
                "There is no method `.Mine`; the nearest is `pike`. Name one of "
                f"{', '.join(f'`{name}`' for name in METHODS)}, or the dotted path of a class, as in `my_package.MyMethod`."
            ),
        ),
    ],
)
def test_a_path_that_leads_to_no_method_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    a_module(monkeypatch, number=5, NoUpdate=NoUpdate, NeedsMore=NeedsMore)
    with pytest.raises(ValueError, match="method") as error:
        find_method(name)
    assert str(error.value) == message


def test_every_method_can_be_built_from_what_is_offered_to_it() -> None:
    """All parameters but the rows are keywords with defaults, so that what is offered can be matched by name."""
    for name, method in METHODS.items():
        rows, *others = inspect.signature(method).parameters.values()
        assert rows.name == "rows", name
        for parameter in others:
            assert parameter.kind is parameter.KEYWORD_ONLY, name
            assert parameter.default is not parameter.empty, name
