"""The twin: what its gap is, that it leaves no trace in the training, that it resumes, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from resume import assert_resumes
from runs import history, lines, read_trace, train

from hbo_plugin.methods.base import NoSettings
from hbo_plugin.methods.static import Fixed

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

pytestmark = pytest.mark.axolotl

LORA = {"adapter": "lora", "lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
HBO = {"method": "scalebio", "prior": "uniform", "update_every": 3, "twin_every": 2, "levels": 1, "record_rows": True}


class Watched(Fixed):
    """Uniform weights that no gap moves, though it is measured."""

    Settings = NoSettings
    signals = ("twin_gap",)

    def __init__(self, rows: NDArray[np.int64], settings: object, run: object) -> None:
        self._weights = rows / rows.sum()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Nothing was saved."""


def losses_of(folder: Path) -> list[Any]:
    return [*(history(folder, key) for key in ("loss", "grad_norm")), lines(folder / "hbo_rows.jsonl")]


@pytest.mark.parametrize("packed", [False, True])
def test_a_twin_never_changes_the_training(make_config: Any, tmp_path: Path, *, packed: bool) -> None:
    """With dropout, checkpointing and accumulation: what a random number or a mode that differs would show in."""
    options = {
        **LORA,
        "lora_dropout": 0.3,
        "gradient_checkpointing": True,
        "val_set_size": 0.2,
        "sample_packing": packed,
    }
    block = {"method": f"{Watched.__module__}.Watched", "update_every": 8, "levels": 1, "record_rows": True}
    with_twin = train(make_config(hbo=block, output_dir=str(tmp_path / "with"), **options))
    static = {"method": "static", "prior": "proportional", "record_rows": True}
    without = train(make_config(hbo=static, output_dir=str(tmp_path / "without"), **options))
    assert losses_of(with_twin) == losses_of(without)
    measured = [record["signals"]["twin_gap"] for record in read_trace(with_twin) if "signals" in record]
    assert [sorted(gaps) for gaps in measured] == [["sums", "tales", "words"]]
    assert all(gap is not None and 0 < abs(gap) < 1 for gap in measured[0].values())


def test_a_killed_run_goes_on_with_its_twin(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the checkpoint of step 4, of which the next update knows the gap of one twin step."""
    config = make_config(hbo=HBO, val_set_size=0.2, lora_dropout=0.1, **LORA)
    folder = assert_resumes(config, monkeypatch, crash_at=7)
    state = json.loads((folder / "checkpoint-12" / "hbo_state.json").read_text())
    assert state["sources"]["twin"] == {"dropped": 0, "steps": 6, "lost": False}
    moved = [record["weights"]["sums"] for record in read_trace(folder)]
    assert moved[0] != moved[1] != moved[2]
