"""`help` on the compiled classes shows their documentation: what comes back, in which shape and type, and what is raised."""

import inspect

import pytest

from hbo_plugin import _sampler
from hbo_plugin._sampler import MixtureSampler, Packer

CLASSES = [MixtureSampler, Packer]
PUBLIC = [(owner, name) for owner in CLASSES for name in sorted(vars(owner)) if not name.startswith("_")]


@pytest.mark.parametrize("owner", CLASSES)
def test_a_class_documents_each_argument_and_its_errors(owner: type) -> None:
    documentation = inspect.getdoc(owner) or ""
    for name in inspect.signature(owner).parameters:
        assert f"\n    {name}: " in documentation
    assert "Raises:\n    ValueError: " in documentation


@pytest.mark.parametrize(("owner", "name"), PUBLIC, ids=[f"{owner.__name__}.{name}" for owner, name in PUBLIC])
def test_each_member_is_documented(owner: type, name: str) -> None:
    documentation = inspect.getdoc(getattr(owner, name)) or ""
    summary = documentation.split("\n")[0]
    assert summary.endswith(".")
    assert len(summary.split()) >= 5
    if callable(getattr(owner, name)) and inspect.signature(getattr(owner, name)).parameters.keys() - {"self"}:
        assert "Raises:\n    ValueError: " in documentation


@pytest.mark.parametrize(
    ("name", "returned"),
    [
        ("fill", "int64, shape (count,)"),
        ("weights", "float64, shape (cells,)"),
        ("counts", "int64, shape (cells,)"),
        ("cell_sizes", "int64, shape (cells,)"),
    ],
)
def test_an_array_is_documented_with_type_and_shape(name: str, returned: str) -> None:
    assert returned in (inspect.getdoc(getattr(MixtureSampler, name)) or "")


def test_the_module_says_what_it_is() -> None:
    assert "which row of a mixture" in (inspect.getdoc(_sampler) or "")
