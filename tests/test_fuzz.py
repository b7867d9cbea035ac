"""Anything at all under `hbo:` and in a state: accepted, or refused with a clear error; never another exception, never a hang."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from fuzzing import JSON, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hbo_plugin import MixtureSampler, PackedBatchSampler
from hbo_plugin.args import HBOConfig
from hbo_plugin.cells import Cells
from hbo_plugin.methods import METHODS, PARAMETERS, PUBLISHED, find_settings
from hbo_plugin.methods.parameters import parameters
from hbo_plugin.training.balancer import Balancer

CELLS = Cells(("a", "b"), np.array([[5, 6], [30, 40]]), np.ones(81, np.int32), np.ones(81, np.int32), ("x", "y"))

NUMBERS = st.sampled_from([0, 1, -1, 0.5, 2, 1e-300, 1e300, 1e9, 2**63, float("nan"), float("inf"), 5e-324])
LEAVES = NUMBERS | JSON
BLOCKS = st.dictionaries(
    st.sampled_from([*HBOConfig.model_fields, *PARAMETERS]) | st.text(max_size=8),
    LEAVES
    | st.sampled_from([*METHODS, "os.path", "a.b", ".a", "a..b", "sample", "token", "loss"])
    | st.dictionaries(
        st.sampled_from(["global", "local", "a", "b", *PARAMETERS]), LEAVES | st.just("loss"), max_size=3
    ),
    max_size=4,
)


@settings(max_examples=400)
@given(BLOCKS)
def test_any_block_is_accepted_or_names_its_key(block: dict[str, Any]) -> None:
    accept_or_name(block)


def accept_or_name(block: dict[str, Any]) -> None:
    """Validate a block and begin with it; a refusal must name one of its keys, or one that is missing."""
    try:
        config = HBOConfig.model_validate(block)
        balancer = Balancer(
            CELLS, config, config.make_method(CELLS.sizes, CELLS.names, seed=3, batch=4), seed=3, steps=1000, capacity=1
        )
    except ValueError as error:
        said = (
            [f"{part['loc']} {part['msg']}" for part in error.errors()]
            if isinstance(error, ValidationError)
            else [f"{error}"]
        )
        own = block.get("settings")
        keys = [*block, *(own if isinstance(own, dict) else ())]
        assert all("` is missing" in sentence or any(key in sentence for key in keys) for sentence in said), said
    else:
        rows = balancer.mixture.fill(0, 100)
        assert ((rows >= 0) & (rows < 81)).all()


@settings(max_examples=400)
@given(st.sampled_from(sorted(METHODS)), st.booleans(), st.data())
def test_any_value_of_a_parameter_that_a_method_has(method: str, published: bool, data: Any) -> None:  # noqa: FBT001
    published = published and method in PUBLISHED
    known = parameters(find_settings(method, published=published))
    given = {key: data.draw(LEAVES) for key in data.draw(st.sets(st.sampled_from(known)))} if known else {}
    accept_or_name({"method": method, "published": published, **given})


@pytest.mark.parametrize("block", [1, "hbo", [1], 0.5, True])
def test_what_is_no_block(block: object) -> None:
    with pytest.raises(ValidationError, match=r"`hbo: .*` was given, but `hbo:` is a block of keys"):
        HBOConfig.model_validate(block)


def mixture(*, replacement: bool = False) -> MixtureSampler:
    made = MixtureSampler([5, 0, 90, 2000], [1, 0, 2, 1 / 3], seed=1, replacement=replacement)
    for head in range(100, 400, 100):
        made.reweight(head, [1, 0, head, 2])
    return made


@settings(max_examples=400)
@given(st.data(), st.booleans())
def test_any_state_of_the_stream(data: Any, replacement: bool) -> None:  # noqa: FBT001 drawn, not called
    whole = mixture(replacement=replacement).state_dict()
    state = mutated(whole, data)
    try:
        restored = MixtureSampler.from_state_dict(state)
    except ValueError as error:
        assert "`" in str(error)  # noqa: PT017 it may also be accepted
        return
    assert restored.state_dict() == {key: state[key] for key in whole}
    position = state["updates"][-1]["position"]
    rows = restored.fill(position, min(300, 2**53 - position))
    assert ((rows >= 0) & (rows < sum(state["cell_sizes"]))).all()


def test_a_state_of_huge_cells_takes_no_memory_for_them() -> None:
    """65,536 cells of 2^31 rows: what is allocated follows from the length of the state."""
    cells = 65_536
    state = {**mixture().state_dict(), "cell_sizes": [2**31] * cells, "drawn": [0] * cells, "owed": [0] * cells}
    state["updates"] = [{"position": 0, "weights": [1.0] * cells}]
    restored = MixtureSampler.from_state_dict(state)
    assert restored.fill(2**53 - 1, 1)[0] < cells * 2**31


@settings(max_examples=400)
@given(st.data())
def test_any_state_of_the_packer(data: Any) -> None:
    def sampler() -> PackedBatchSampler:
        return PackedBatchSampler(mixture(), np.full(2095, 7, np.int32), capacity=50, ranks=2, window=8)

    taken = sampler()
    list(islice(taken, 3))
    state = mutated(taken.state_dict(), data)
    restored = sampler()
    try:
        restored.load_state_dict(state)
    except ValueError as error:
        assert "`" in str(error)  # noqa: PT017 it may also be accepted
        return
    assert restored.state_dict() == {key: state[key] for key in restored.state_dict()}
    try:
        batch = next(iter(restored))
    except ValueError as error:
        assert "the stream ends" in str(error)  # noqa: PT017 only where the state is at its end
    else:
        assert batch
