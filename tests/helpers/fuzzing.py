"""Random JSON, and JSON in which something was changed at random."""

from typing import Any

from hypothesis import strategies as st

_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=4) | st.just(10**400)
)
JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


def mutated(value: Any, data: Any, depth: int = 0) -> Any:
    """The same JSON with one thing in it replaced, left out or doubled; the outermost stays what it is.

    Args:
        value: a list or a dictionary, to any depth.
        data: hypothesis's, from which the choices are drawn.
        depth: of `value` in the whole.
    """
    if not (isinstance(value, dict | list) and value) or (depth > 0 and data.draw(st.integers(0, 3)) == 0):
        return data.draw(JSON)
    copy = value.copy()
    key = data.draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
    if data.draw(st.integers(0, 3)):
        copy[key] = mutated(value[key], data, depth + 1)
    elif isinstance(copy, list) and data.draw(st.booleans()):
        copy *= 2
    else:
        del copy[key]
    return copy
