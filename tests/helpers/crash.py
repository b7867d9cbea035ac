"""An Axolotl plugin for tests: the run dies right after the optimizer step that `HBO_TEST_CRASH_AT` names."""

import os
from typing import Any

from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

VARIABLE = "HBO_TEST_CRASH_AT"


class CrashError(Exception):
    """The run died."""


class _CrashCallback(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == int(os.environ.get(VARIABLE, "-1")):
            raise CrashError


class CrashPlugin(BasePlugin):
    """`plugins: [crash.CrashPlugin]`."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        return [_CrashCallback()]
