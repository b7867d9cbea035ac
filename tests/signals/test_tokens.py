"""Statistics of predicted tokens, against NumPy."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hbo_plugin.signals import tokens  # noqa: E402


@pytest.mark.parametrize("chunk", [1 << 24, 30])
def test_losses_and_entropies_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Also where some tokens cannot be, where one cannot be anything else, and where a score is no number."""
    monkeypatch.setattr(tokens, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(8, 11))
    logits[1, 2:9] = logits[2, :10] = -np.inf
    logits[3, 4] = np.nan
    logits[4, 5] = 300
    at, targets = np.array([7, 0, 1, 2, 3, 4]), np.array([3, 2, 0, 10, 1, 6])
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.exp(logits[at] - logits[at].max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        entropies = -np.where(shares == 0, 0, shares * np.log(shares)).sum(axis=1)
        losses = -np.log(shares[np.arange(6), targets])
    losses[5] = 300 - logits[4, 6]  # whose share NumPy rounds
    whole = tokens.Logits.whole(torch.tensor(logits[None], dtype=torch.float32))
    given = whole, torch.tensor(at), torch.tensor(targets)
    found = tokens.token_statistics(*given, ("loss", "entropy")).numpy()
    np.testing.assert_allclose(found, [losses, entropies], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tokens.token_statistics(*given, ("loss",)).numpy(), found[:1])
