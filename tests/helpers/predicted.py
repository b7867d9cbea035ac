"""What a batch predicts, as a run hands it to its sources."""

from collections.abc import Sequence
from typing import Any

from hbo_plugin.signals.context import Context
from hbo_plugin.signals.tokens import Logits, Predictions, owners_of


def predicted(context: Context, logits: Any, labels: Any, rows: Sequence[Sequence[int]]) -> Predictions:
    """Of logits, [sequences, tokens, vocabulary], labels, int64[sequences, tokens], and the rows in each sequence."""
    whose = owners_of(tuple(labels.shape), rows, context.cells.lengths, left=context.pads_left)
    return Predictions.of(Logits.whole(logits), labels, whose, ("loss", "entropy"), scaled=True)
