"""The environment of every test, and the fixtures of those that train a tiny model."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports Hugging Face libraries: no hub, no telemetry, no spinning threads on shared cores.
os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    AXOLOTL_DO_NOT_TRACK="1",
    DO_NOT_TRACK="1",
    WANDB_MODE="disabled",
    TOKENIZERS_PARALLELISM="false",
    OMP_WAIT_POLICY="passive",
    AXOLOTL_DATASET_NUM_PROC="0",  # starting a worker takes longer than preparing such small data
)
sys.path.insert(0, str(Path(__file__).parent / "helpers"))  # Axolotl imports the tests' own plugins by name

# A commit passes today as it passed yesterday; `make fuzz` looks for what it has not met.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("repeatable")

from runs import Config, save_tiny_model, short_run  # noqa: E402 found through the line above


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `save_tiny_model`."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for raw and prepared data, shared because Axolotl takes seconds to prepare the smallest set."""
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture
def make_config(tiny_model: Path, corpus: Path, tmp_path: Path) -> Callable[..., Config]:
    """A function that gives a configuration of a short CPU run; keywords replace its keys, None removes one."""
    return partial(short_run, tiny_model, corpus, tmp_path / "out")


@pytest.fixture(autouse=True)
def _little_to_look_through() -> None:
    """Collections pass over the objects of all that is imported: Axolotl asks for eight a run, which took two thirds of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_left_of_a_run() -> Iterator[None]:
    """Axolotl keeps its plugins and sets environment variables, accelerate its precision, and Python a page's package."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    sys.modules.pop("my_package", None)
    base = sys.modules.get("axolotl.integrations.base")
    if base is not None:
        base.PluginManager._instance = None
        getattr(base, "reset_plugin_entry_points_cache", lambda: None)()
    if state := sys.modules.get("accelerate.state"):
        state.AcceleratorState._reset_state()
