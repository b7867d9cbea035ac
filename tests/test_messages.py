"""Messages: everything that several calls refuse is said at once."""

import pytest

from hbo_plugin import user_errors
from hbo_plugin.messages import Refusals, all_of


def refuse(*messages: str) -> None:
    if messages:
        raise Refusals(messages) if len(messages) > 1 else ValueError(*messages)


def test_the_results_come_in_order() -> None:
    assert all_of([lambda: 3, lambda: 1]) == [3, 1]


def test_one_refusal_stays_as_it_is() -> None:
    wrong = ValueError("wrong")

    def fail() -> None:
        raise wrong

    with pytest.raises(ValueError, match="wrong") as error:
        all_of([refuse, fail, fail])
    assert error.value is wrong


def test_several_refusals_are_one_message_each_once() -> None:
    with pytest.raises(ValueError, match=r"^a\nb\nc$") as error:
        all_of([lambda: refuse("a"), lambda: refuse("b", "a"), lambda: refuse("c")])
    assert user_errors.refusals(error.value) == ["a", "b", "c"]


def test_other_errors_are_nobody_s_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        all_of([lambda: refuse("a"), lambda: 1 // 0])
    assert user_errors.refusals(OSError("no such file")) == ["OSError: no such file"]
