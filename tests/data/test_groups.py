"""Groups: every value of a column is in one dataset, whose name is its own; what cannot be named is refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hbo_plugin.data.groups import MOST, Counted, Group, group, merge_notes, merged_values

VALUES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1)


def names(groups: list[list[Group]]) -> list[list[str]]:
    return [[part.name for part in parts] for parts in groups]


def test_each_value_is_a_dataset_and_an_entry_without_the_column_stays_one() -> None:
    groups = group([Counted("mix", {"chat": 3, "math": 2}), Counted("code", None)])
    assert groups == [[Group("chat", ("chat",)), Group("math", ("math",))], [Group("code")]]


def test_the_same_value_in_two_entries_is_named_by_both() -> None:
    groups = group([Counted("x", {"chat": 3, "math": 2}), Counted("y", {"math": 2, "z": 1}), Counted("z", None)])
    assert names(groups) == [["chat", "x/math"], ["y/math", "y/z"], ["z"]]
    assert groups[0][1].values == ("math",)


def test_values_with_few_rows_are_merged_unless_they_are_named() -> None:
    counted = [Counted("mix", {"a": 3, "b": 9, "c": 2, "d": 2, "e": 4})]
    groups = group(counted, least=4, named={"c", "mix/d"})
    assert groups == [[*(Group(value, (value,)) for value in "bcde"), Group("other", ("a",), merged=True)]]
    groups = group(counted, least=4)
    assert groups[0][-1] == Group("other", ("a", "c", "d"), merged=True)
    assert merge_notes(counted, groups, 4) == [
        "dataset `other` has the 7 rows of `a`, `c`, `d`, which have fewer than 4 rows each"
    ]
    assert merge_notes(counted, group(counted), 0) == []


def test_a_long_note_names_some() -> None:
    counted = [Counted("mix", {f"v{index}": 1 for index in range(10)})]
    (note,) = merge_notes(counted, group(counted, least=2), 2)
    assert "the 10 rows of `v0`, `v1`, `v2`, `v3`, `v4`, `v5`, `v6`, `v7` and 2 more, which" in note


def test_two_merges_are_named_by_their_entries() -> None:
    groups = group([Counted("x", {"a": 1, "b": 9}), Counted("y", {"c": 1})], least=2)
    assert names(groups) == [["b", "x/other"], ["y/other"]]
    assert merged_values(groups) == {"a", "c"}


def test_held_out_values_are_merged_as_in_training() -> None:
    """But not one that is a dataset of its own in another entry."""
    merged = merged_values(group([Counted("x", {"a": 1, "b": 1}), Counted("y", {"a": 9})], least=2))
    assert merged == {"b"}
    groups = group([Counted("exam", {"a": 1, "b": 9, "new": 1})], merged=merged)
    assert groups == [[Group("a", ("a",)), Group("new", ("new",)), Group("other", ("b",), merged=True)]]


@pytest.mark.parametrize("where", [0, 1])
def test_a_value_called_other_beside_a_merge_is_refused(where: int) -> None:
    entries = [Counted("x", {"a": 1, "b": 9}), Counted("y", {"c": 9})]
    entries[where] = Counted("x", {**(entries[where].rows or {}), "other": 9})
    assert "other" in [name for parts in names(group(entries)) for name in parts]
    with pytest.raises(
        ValueError, match=re.escape("merges values with few rows into `other`, but `hbo.group_by` finds a")
    ):
        group(entries, least=2)


def test_too_many_values_are_refused() -> None:
    many = {f"v{index}": 1 + index for index in range(MOST + 1)}
    assert len(group([Counted("mix", dict(list(many.items())[:MOST]))])[0]) == MOST
    with pytest.raises(ValueError, match=r"would make 257 datasets of `mix`, but it makes 256 at most"):
        group([Counted("mix", many)])
    assert len(group([Counted("mix", many)], least=3)[0]) == MOST


def test_two_datasets_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two datasets called `x/a`; call the entries something else in `hbo\.names`"):
        group([Counted("x", {"a": 1}), Counted("y", {"a": 1}), Counted("z", {"x/a": 1})])


@given(st.lists(VALUES, min_size=1, max_size=3), st.integers(0, 9), st.sets(st.sampled_from("abcdefgh")))
def test_every_row_is_in_one_dataset(rows: list[dict[str, int]], least: int, named: set[str]) -> None:
    entries = [Counted(f"entry{index}", each) for index, each in enumerate(rows)]
    groups = group(entries, least=least, named=named)
    flat = [name for parts in names(groups) for name in parts]
    assert len(flat) == len(set(flat))
    for entry, parts in zip(rows, groups, strict=True):
        assert sorted(value for part in parts for value in part.values or ()) == sorted(entry)
        for part in parts:
            assert part.merged == any(entry[value] < least and value not in named for value in part.values or ())
            assert part.merged or part.values == (part.name.split("/")[-1],)
