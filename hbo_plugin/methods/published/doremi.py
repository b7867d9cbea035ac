"""DoReMi's rule, online: datasets whose loss stands highest above that of the initial model."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass

from hbo_plugin.methods.base import RunFacts
from hbo_plugin.methods.parameters import LogStep, UniformFloor
from hbo_plugin.methods.prior import Prior
from hbo_plugin.methods.published.exponentiated import Exponentiated
from hbo_plugin.methods.reading import by_dataset, read_signal
from hbo_plugin.methods.single import Single

# The logarithm of a ratio needs one above 0.
_SMALLEST_RATIO = 1e-100


@dataclass(frozen=True, kw_only=True)
class DoReMiSettings:
    """The settings of `doremi`."""

    prior: Prior = "uniform"
    step_size: LogStep = 1.0
    floor: UniformFloor = 1e-3
    clip: Annotated[bool, Field(description="Count a mean excess loss below 0 as 0.")] = False

    def actor(self, prior: NDArray[np.float64], run: RunFacts) -> Exponentiated:
        """Build the actor from its prior, float64[arms]."""
        return Exponentiated(prior, step_size=self.step_size, floor=self.floor)


class DoReMi(Single):
    """Datasets by the exponential of their excess loss, summed over updates; levels in proportion to their rows.

        excess  = loss now - loss of the initial model = log(perplexity ratio)
        weight <- (1 - floor) * normalise(weight * exp(step_size * excess)) + floor / N

    The paper writes eta and c for `step_size` and `floor`, and starts uniform.

    The paper trains a reference model and then a small proxy with this rule, and uses the average of the proxy's
    weights for a third training. In one fine-tuning the reference is the initial model and the weights act at once.

    The paper clips the excess of every token at 0. Fine-tuning starts at the reference, so that nearly all of its
    excess is below 0 and clipped weights would stay where they start. So the excess is not clipped: the softmax
    sees only differences, and what gains weight is what improved least, as the min-max idea wants. `clip: true`
    clips, but the mean of a dataset and not each token. And a dataset without a measurement counts as the mean of the
    others, where the code takes ln(vocabulary), which puts nearly all weight on it. Nothing pulls back, so lasting
    differences end in one dataset with all but the floor: a long run with many updates may want a smaller `step_size`.

    Source: DoReMi (arXiv 2305.10429), Algorithm 1.
    """

    Settings: ClassVar[type] = DoReMiSettings
    signals = ("perplexity_ratio",)
    _settings: DoReMiSettings

    def rewards(self, signals: Mapping[str, NDArray[np.float64]], /) -> NDArray[np.float64]:
        """Return the excess losses, float64[datasets], in nats."""
        ratio = read_signal(signals, "perplexity_ratio", self._rows.shape)
        excess = by_dataset(np.log(np.maximum(ratio, _SMALLEST_RATIO)), self._rows)
        return np.maximum(excess, 0) if self._settings.clip else excess
