"""Sums over gradients: right, and without a float64 copy of a whole one."""

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from hbo_plugin.ranks import Ranks  # noqa: E402
from hbo_plugin.signals import gradients  # noqa: E402

SHAPES = [(), (0,), (7,), (5, 3), (3, 2, 4), (1, 40)]


class LargestDouble(TorchDispatchMode):
    """Notes the largest tensor of float64 that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        doubles = [each.numel() for each in tree_leaves(found) if getattr(each, "dtype", None) == torch.float64]
        self.numbers = max([self.numbers, *doubles])
        return found


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The parts of a gradient, most of which come in pieces; one of them is not contiguous."""
    monkeypatch.setattr(gradients, "_PIECE", 6)
    torch.manual_seed(0)
    return [*(torch.randn(shape) for shape in SHAPES), torch.randn(4, 6).T]


def test_a_product_is_that_of_the_whole(parts: list[Any]) -> None:
    others = [torch.randn(part.shape) for part in parts]
    with LargestDouble() as largest:  # type: ignore[no-untyped-call]
        found = gradients.product(parts, others), gradients.square(parts)
    # A row is the least that a piece has.
    assert largest.numbers == 40
    assert found[0] == pytest.approx(
        sum(float((a.double() * b.double()).sum()) for a, b in zip(parts, others, strict=True))
    )
    assert found[1] == pytest.approx(sum(float(part.double().square().sum()) for part in parts))


def test_the_sum_over_ranks_comes_in_pieces_and_in_place(parts: list[Any]) -> None:
    sizes = []

    def reduce(own: Any, reduction: str) -> Any:
        assert (own.dtype, reduction) == (torch.float64, "sum")
        sizes.append(own.numel())
        return own * 3

    before = [part.clone() for part in parts]
    gradients.add_over_ranks(parts, Ranks(0, 3, SimpleNamespace(device="cpu", reduce=reduce)))
    assert sum(sizes) == sum(part.numel() for part in parts)
    assert max(sizes) == 40
    for part, old in zip(parts, before, strict=True):
        torch.testing.assert_close(part, 3 * old)
    gradients.add_over_ranks(parts, Ranks())  # without an accelerator, reducing would fail
