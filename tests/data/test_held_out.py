"""Held-out sets: a minimum of rows with a note, and ties by name alone."""

import pytest

from hbo_plugin.data.held_out import held_out_counts, ties


def test_a_share_of_a_small_dataset_is_raised_with_a_note() -> None:
    held, notes = held_out_counts(0.05, {}, {"big": 1000, "mid": 60, "small": 20, "tiny": 3})
    assert held == {"big": 50, "mid": 8, "small": 4, "tiny": 0}
    assert notes == [
        (
            "dataset `mid` holds out 8 of its 60 rows instead of 3; "
            "a loss on fewer than 8 rows says little, and `hbo.val_set_size` sets the number"
        ),
        (
            "dataset `small` holds out 4 of its 20 rows instead of 1; "
            "a loss on fewer than 8 rows says little, and `hbo.val_set_size` sets the number"
        ),
        (
            "dataset `tiny` holds out 0 of its 3 rows; "
            "a loss on fewer than 8 rows says little, and `hbo.val_set_size` sets the number"
        ),
    ]


def test_what_the_user_says_of_a_dataset_is_done_with_a_note_where_it_is_little() -> None:
    held, notes = held_out_counts(0.1, {"a": 2, "b": 0, "c": 0.5}, {"a": 100, "b": 100, "c": 100, "d": 100})
    assert held == {"a": 2, "b": 0, "c": 50, "d": 10}
    assert [note.split(";")[0] for note in notes] == ["dataset `a` holds out 2 of its 100 rows"]


def test_a_number_of_rows_is_shared_out_and_one_is_left_to_train_on() -> None:
    assert held_out_counts(50, {}, {"a": 100, "b": 400})[0] == {"a": 10, "b": 40}
    assert held_out_counts(0.0, {"a": 9}, {"a": 5})[0] == {"a": 4}
    assert held_out_counts(0, {}, {"a": 5}) == ({"a": 0}, [])


def test_a_set_belongs_to_the_dataset_of_its_name_or_to_the_one_that_names_it() -> None:
    assert ties(["a", "b"], ["b", "a"], {}) == {"a": "a", "b": "b"}
    assert ties(["a_train", "b"], ["a_test", "c"], {"a_train": "a_test"}) == {"a_train": "a_test"}
    assert ties(["a", "b"], ["x", "y"], {}) == {}


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (
            ["math_test", "b"],
            (
                "`hbo.held_out: {math: math_tset}` names a held-out set that does not exist; "
                "did you mean `math_test`? There are `math_test`, `b`."
            ),
        ),
        (
            [],
            (
                "`hbo.held_out: {math: math_tset}` names a held-out set that does not exist; "
                "there are none; set `test_datasets` or `val_set_size`."
            ),
        ),
    ],
)
def test_a_held_out_set_that_does_not_exist(sets: list[str], expected: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        ties(["math"], sets, {"math": "math_tset"})
    assert str(error.value) == expected
