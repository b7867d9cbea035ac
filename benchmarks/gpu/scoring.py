"""Case: how fast rows are scored on the card, beside the model's decoder alone over the same batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.scoring import measured

if TYPE_CHECKING:
    from benchmarks.gpu.case import Case

SHARE = 0.9
"""Of the rate that the decoder's would be with the head on each token of an answer, by operations."""
ANSWER = 0.5
"""Of a row's tokens."""


def run(case: Case) -> None:
    """Two models, of which one has a large head beside a small decoder."""
    import torch

    from benchmarks.training_run import MODELS

    for name in ("tiny",) if case.small else ("smollm2", "llama-1b"):
        with case.attempt(name):
            with torch.device(case.device):
                model = MODELS[name]()
            head = model.get_output_embeddings().weight.numel()
            layers = sum(part.numel() for part in model.get_decoder().layers.parameters())
            count, longest = (8, 64) if case.small else (192, 1024)
            alone, ours = measured(name, model, case.folder / name, count, 3, longest=longest)
            share, possible = _value(alone) / _value(ours), layers / (layers + ANSWER * head)
            case.expect(
                f"{name}: rows are scored at {SHARE:g} of the rate that decoder and head allow",
                holds=share >= SHARE * possible,
                resources=True,
                share_of_decoder=share,
                possible_share=possible,
                decoder_s=_value(alone),
                scoring_s=_value(ours),
            )


def _value(row: Any) -> float:
    return float(row.value)
