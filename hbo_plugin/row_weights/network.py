"""A small network that gives each row a score, in NumPy: its gradient, its Adam, its state and its file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, FiniteFloat, ValidationError

from hbo_plugin.messages import listed
from hbo_plugin.methods.published.adam import BETA_1, BETA_2, EPSILON
from hbo_plugin.methods.state import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HIDDEN = 16
"""Its hidden units."""
NETWORK_FILE = "hbo_dwm.json"
"""Where a run leaves its network, in the output folder."""
_DOMAIN = 3
"""Second word of the Philox key of its first parameters: 0 and 1 are the stream's, and 2 that of the probes."""


class Network:
    """Features of a row, 16 hidden units with tanh, one score.

    All parameters are one vector: the matrix of the hidden layer, its bias, the weights of the score and its bias. The
    score starts at 0 for every row: its weights do, while those of the hidden layer are drawn.

    Args:
        features: their names, in the order of `x`.
        seed: of what is drawn, 0 or more.
    """

    def __init__(self, features: tuple[str, ...], seed: int) -> None:
        self._features = features
        self._parameters = np.zeros((len(features) + 2) * HIDDEN + 1)
        self._moments = np.zeros((2, self._parameters.size))
        self._steps = 0
        drawn = np.random.Generator(np.random.Philox(key=[seed, _DOMAIN])).normal(size=len(features) * HIDDEN)
        self._parameters[: drawn.size] = drawn / len(features) ** 0.5

    def score(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the score of each row, float64[rows], from its features, float64[rows, features]."""
        return np.asarray(self._hidden(x) @ self._parameters[-HIDDEN - 1 : -1] + self._parameters[-1])

    def gradient(self, x: NDArray[np.float64], dscore: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient of `sum(dscore * score(x))` by the parameters, float64[parameters]; `dscore` is float64[rows]."""
        hidden = self._hidden(x)
        inner = dscore[:, None] * self._parameters[-HIDDEN - 1 : -1] * (1 - hidden**2)
        return np.concatenate([(x.T @ inner).ravel(), inner.sum(axis=0), dscore @ hidden, [dscore.sum()]])

    def climb(self, gradient: NDArray[np.float64], learning_rate: float) -> None:
        """Take one step of Adam up a gradient, float64[parameters]."""
        self._steps += 1
        kept = np.array([[BETA_1], [BETA_2]])
        self._moments = kept * self._moments + (1 - kept) * np.stack([gradient, gradient**2])
        first, second = self._moments / (1 - kept**self._steps)
        self._parameters = self._parameters + learning_rate * first / (np.sqrt(second) + EPSILON)

    def state_dict(self) -> dict[str, Any]:
        """Return the parameters, and the moments and steps of Adam, as plain JSON values."""
        return {
            "parameters": to_json(self._parameters),
            "moments": to_json(self._moments),
            "steps": [self._steps],
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from what `state_dict` returned; ValueError where it does not fit."""
        self._parameters = from_json(state, "parameters", self._parameters.size)
        self._moments = from_json(state, "moments", self._moments.shape)
        self._steps = int(from_json(state, "steps", 1)[0])

    def save(self, path: Path) -> None:
        """Write the features and the parameters to a file."""
        content = _File(version=1, features=self._features, parameters=self._parameters.tolist())
        path.write_text(content.model_dump_json())

    def load(self, path: str) -> None:
        """Take the parameters from a file; ValueError where it has none for these features."""
        given, instead = f"`hbo.row_weights.dwm.path: {path}` was given", f"give the `{NETWORK_FILE}` of another run"
        try:
            found = _File.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            message = f"{given}, but it cannot be read ({error}); {instead}."
            raise ValueError(message) from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = ": ".join([".".join(map(str, first["loc"])), first["msg"]]).removeprefix(": ")
            message = f"{given}, but that is no file of a network ({reason}); {instead}."
            raise ValueError(message) from error
        if found.features != self._features or len(found.parameters) != self._parameters.size:
            message = (
                f"{given}, whose network has {len(found.parameters)} parameters for {listed(found.features)}, but it must "
                f"have {self._parameters.size} for {listed(self._features)}; {instead}."
            )
            raise ValueError(message)
        self._parameters = np.array(found.parameters, np.float64)

    def _hidden(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn, bias = np.split(self._parameters[: -HIDDEN - 1], [-HIDDEN])
        return np.asarray(np.tanh(x @ drawn.reshape(-1, HIDDEN) + bias))


class _File(BaseModel, strict=True):
    """What a file of a network holds."""

    version: Literal[1]
    features: tuple[str, ...]
    parameters: list[FiniteFloat]
