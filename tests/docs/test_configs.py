"""Every config in `axolotl_configs/` passes Axolotl's own validation, and the demo's two differ only by HBO."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from hbo_plugin.args import HBOConfig

FOLDER = Path(__file__).parents[2] / "axolotl_configs"
CONFIGS = sorted(FOLDER.glob("*.yml"))


def raw(name: str) -> dict[str, Any]:
    """A config as it is written."""
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return loaded


@pytest.mark.axolotl
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_axolotl_accepts(path: Path) -> None:
    """As far as a machine without GPUs and without a hub can tell: every key known, no two at odds."""
    from axolotl.utils.config import prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault

    written = raw(path.name)
    cfg = DictDefault(written)
    prepare_plugins(cfg)
    capabilities = {"bf16": True, "fp8": False, "n_gpu": 8, "n_node": 1, "compute_capability": "sm_90"}
    checked = validate_config(cfg, capabilities=capabilities, env_capabilities={"torch_version": "2.13.0"})
    # Axolotl drops keys that it does not know without a word.
    assert set(written) <= set(checked), path.name
    if "hbo" in written:
        assert HBOConfig.model_validate(checked.hbo.to_dict()) == HBOConfig.model_validate(written["hbo"])


def test_there_are_eleven() -> None:
    """A folder that was not found would pass the test above."""
    assert [path.stem for path in CONFIGS] == [
        "fixed-shares",
        "llama3-8b-lora",
        "multi-gpu-full",
        "one-dataset-by-column",
        "quickstart-dwm",
        "quickstart-quality",
        "quickstart-search",
        "quickstart-target",
        "quickstart",
        "quickstart_without_hbo",
        "target-with-helpers",
    ]


def test_the_demos_twin_differs_by_hbo_alone() -> None:
    with_hbo, without = raw("quickstart.yml"), raw("quickstart_without_hbo.yml")
    assert with_hbo.pop("plugins") == ["hbo_plugin.HBOPlugin"]
    assert with_hbo.pop("hbo")
    assert (with_hbo.pop("output_dir"), without.pop("output_dir")) == ("demo/with_hbo", "demo/without_hbo")
    assert with_hbo == without
