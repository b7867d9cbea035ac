"""Losses that leave no logits, and compiled models: the training batches tell the same as without."""

from pathlib import Path
from typing import Any

import pytest
from runs import STILL, assert_traces_agree, history, read_trace, train

pytestmark = pytest.mark.axolotl

HBO = {"update_every": 2, "levels": 2, "gradient_rows": 4, "forward_rows": 4}


@pytest.fixture
def plain(make_config: Any) -> Any:
    """A run whose weights follow from its training batches."""
    return make_config(hbo=HBO, learning_rate=STILL, num_epochs=9, max_steps=6, save_steps=6)


@pytest.mark.parametrize(
    "changes",
    [
        {"val_set_size": 9, "eval_steps": 3},
        {
            "adapter": "lora",
            "lora_r": 4,
            "lora_alpha": 8,
            "lora_target_modules": ["q_proj", "v_proj"],
            "lora_modules_to_save": ["lm_head"],
            "sample_packing": True,
            "sequence_len": 256,
            "pad_to_sequence_len": True,
            "gradient_checkpointing": True,
        },
    ],
    ids=["rows", "packed, a head that is trained beside an adapter"],
)
def test_a_fused_loss_hides_nothing(plain: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    config = {**plain, **changes, "learning_rate": 1e-3}
    wanted = train({**config, "output_dir": str(tmp_path / "plain")})
    config |= {"plugins": [*plain["plugins"], "fused_loss.FusedLossPlugin"], "cut_cross_entropy": True}
    found = train(config)
    assert_traces_agree(found, wanted)
    assert history(found, "hbo/loss/sums") == pytest.approx(history(wanted, "hbo/loss/sums"), rel=1e-5)
    first, *_, last = read_trace(found)
    assert first["weights"] != last["weights"]


def test_a_compiled_model_tells_the_same_to_the_bit(plain: Any, tmp_path: Path) -> None:
    config = {**plain, "hbo": {**HBO, "reward": {"global": "entropy", "local": "perplexity_ratio"}}}
    wanted = train({**config, "output_dir": str(tmp_path / "plain")})
    found = train({**config, "torch_compile": True, "torch_compile_backend": "aot_eager"})
    signals, expected = ([record.get("signals") for record in read_trace(folder)] for folder in (found, wanted))
    assert signals == expected
    assert any(signals)
