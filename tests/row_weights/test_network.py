"""The network of row weights against calculations of their own: its score, its gradient, its Adam, its state and its file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hbo_plugin.row_weights.network import HIDDEN, NETWORK_FILE, Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

FEATURES = ("loss", "entropy", "age")
SIZE = 5 * HIDDEN + 1
X = np.random.default_rng(1).normal(size=(7, 3))


def network_of(parameters: NDArray[np.float64]) -> Network:
    network = Network(FEATURES, 0)
    network.load_state_dict({**network.state_dict(), "parameters": parameters.tolist()})
    return network


def parameters_of(network: Network) -> NDArray[np.float64]:
    return np.array(network.state_dict()["parameters"])


PARAMETERS = np.random.default_rng(2).normal(size=SIZE)


def test_the_score_is_that_of_two_layers() -> None:
    first, bias = PARAMETERS[: 3 * HIDDEN], PARAMETERS[3 * HIDDEN : 4 * HIDDEN]
    second, last = PARAMETERS[4 * HIDDEN : -1], PARAMETERS[-1]
    wanted = [
        last
        + sum(
            second[unit]
            * np.tanh(bias[unit] + sum(row[feature] * first[feature * HIDDEN + unit] for feature in range(3)))
            for unit in range(HIDDEN)
        )
        for row in X
    ]
    np.testing.assert_allclose(network_of(PARAMETERS).score(X), wanted)


def test_the_gradient_is_that_of_finite_differences() -> None:
    dscore = np.random.default_rng(3).normal(size=7)

    def value(parameters: NDArray[np.float64]) -> float:
        return float(dscore @ network_of(parameters).score(X))

    steps = 1e-6 * np.eye(SIZE)
    wanted = [(value(PARAMETERS + step) - value(PARAMETERS - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(network_of(PARAMETERS).gradient(X, dscore), wanted, rtol=1e-6, atol=1e-8)


def test_a_climb_is_a_step_of_adam_upwards() -> None:
    network, wanted = network_of(PARAMETERS), PARAMETERS.copy()
    first, second = np.zeros(SIZE), np.zeros(SIZE)
    for step, gradient in enumerate(np.random.default_rng(4).normal(size=(5, SIZE)), start=1):
        network.climb(gradient, 0.01)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        wanted = wanted + 0.01 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(parameters_of(network), wanted)


def test_it_starts_from_its_seed_and_scores_0() -> None:
    one, same, other = (Network(FEATURES, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(parameters_of(one), parameters_of(same))
    assert (parameters_of(one) != parameters_of(other))[: 3 * HIDDEN].all()
    np.testing.assert_array_equal(one.score(X), np.zeros(7))
    assert one.gradient(X, np.ones(7)).any()


def test_its_state_continues_it_bit_for_bit() -> None:
    network, resumed = network_of(PARAMETERS), Network(FEATURES, 9)
    gradients = np.random.default_rng(7).normal(size=(6, SIZE))
    for gradient in gradients[:3]:
        network.climb(gradient, 0.1)
    resumed.load_state_dict(json.loads(json.dumps(network.state_dict())))
    for gradient in gradients[3:]:
        network.climb(gradient, 0.1)
        resumed.climb(gradient, 0.1)
    np.testing.assert_array_equal(resumed.score(X), network.score(X))


def test_a_file_has_the_network(tmp_path: Path) -> None:
    path, loaded = tmp_path / NETWORK_FILE, Network(FEATURES, 9)
    network_of(PARAMETERS).save(path)
    loaded.load(str(path))
    np.testing.assert_array_equal(parameters_of(loaded), PARAMETERS)


def changed(key: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), key: value})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[:-20], "that is no file of a network (Invalid JSON"),
        (lambda _: "[1, 2]", "that is no file of a network (Input should be an object"),
        (lambda _: "{}", "that is no file of a network (version: Field required"),
        (changed("version", 2), "that is no file of a network (version: Input should be 1)"),
        (changed("parameters", ["a"]), "that is no file of a network (parameters.0: Input should be a valid number)"),
        (changed("parameters", [1.0] * 80), f"80 parameters for `loss`, `entropy`, `age`, but it must have {SIZE} for"),
        (changed("features", ["loss"]), "for `loss`, but it must have 81 for `loss`, `entropy`, `age`; give the"),
    ],
)
def test_a_file_that_has_none_is_refused(change: Callable[[str], str], reason: str, tmp_path: Path) -> None:
    path, network = tmp_path / NETWORK_FILE, network_of(PARAMETERS)
    network.save(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match="path: ") as refusal:
        network.load(str(path))
    assert str(path) in str(refusal.value)
    assert reason in str(refusal.value)
    np.testing.assert_array_equal(parameters_of(network), PARAMETERS)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere.json` was given, but it cannot be read \(.*No such file"):
        network_of(PARAMETERS).load(str(tmp_path / "nowhere.json"))
