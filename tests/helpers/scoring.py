"""An Axolotl plugin for tests: it writes down which rows each process scores, and may kill one."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

FOLDER = "HBO_TEST_SCORED"
"""The folder of what was scored, a file for each process."""
KILL = "HBO_TEST_KILL"
"""The batch at which the last process kills itself."""


class ScoringPlugin(BasePlugin):
    """`plugins: [scoring.ScoringPlugin]`."""

    def register(self, cfg: Any) -> None:
        from hbo_plugin.data import difficulty

        difficulty._TURN, difficulty._SAVE_SECONDS = 1, 0.0
        score = difficulty.Scorer._batch_scores
        last = int(os.environ.get("RANK", "0")) + 1 == int(os.environ.get("WORLD_SIZE", "1"))
        batches: list[int] = []

        def seen(self: Any, rows: list[dict[str, Any]]) -> Any:
            if last and len(batches) == int(os.environ.get(KILL, "-1")):
                os.kill(os.getpid(), signal.SIGKILL)
            batches.append(len(rows))
            with (Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl").open("a") as file:
                file.writelines(json.dumps(row.get("input_ids") or row["prompt"]) + "\n" for row in rows)
            return score(self, rows)

        difficulty.Scorer._batch_scores = seen  # type: ignore[method-assign]
