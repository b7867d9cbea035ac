"""The candidates of a search."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbo_plugin.search.candidates import Shares, priors, split


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.9))
def test_a_mixture_keeps_the_target_and_gives_the_rest_to_the_chosen(others: int, chosen: int, floor: float) -> None:
    names = tuple(f"d{index}" for index in range(others))
    shares = Shares({"a": 0.2, "b": 0.1}, names, floor)
    mixture = shares.to(names[:chosen])
    assert sum(mixture.values()) == pytest.approx(1)
    assert (mixture["a"], mixture["b"]) == (0.2, 0.1)
    assert min(mixture[name] for name in names) >= 0.7 * floor / others * (1 - 1e-12)
    assert len({round(mixture[name], 12) for name in names[:chosen]}) == 1


def test_few_datasets_are_tried_alone_and_many_in_groups_that_hold_all() -> None:
    assert split(["a", "b"]) == [("a",), ("b",)]
    names = [f"d{index}" for index in range(95)]
    groups = split(names)
    assert len(groups) == 8
    assert [name for group in groups for name in group] == names
    assert all(len(split(group)) > 1 for group in groups)


def test_names_tell_what_is_tried() -> None:
    shares = Shares({"a": 0.5}, ("b", "c", "d", "e"), 0)
    assert shares.even.prior == {"a": 0.5, "b": 0.125, "c": 0.125, "d": 0.125, "e": 0.125}
    assert shares.candidate(["b"]).name == "rest to b"
    assert shares.candidate(["b", "c"]).name == "rest to b and c"
    assert shares.candidate(["b", "c", "d", "e"]).name == "rest to b and 3 others"
    assert shares.candidate(["b"]).changes == {
        "method": "static",
        "prior": {"a": 0.5, "b": 0.5, "c": 0, "d": 0, "e": 0},
        "record_steering": True,
    }


def test_where_all_counts_other_temperatures_are_tried_beside_the_own_prior() -> None:
    assert [each.name for each in priors(3)] == [
        *("as it is", "proportional", "temperature 2", "temperature 5", "uniform")
    ]
    assert len(priors({"a": 1, "b": 2})) == 6
