"""An Axolotl plugin for tests: the trainer writes down what each batch is made of, after whatever it did to its rows."""

import json
from pathlib import Path
from typing import Any

from axolotl.integrations.base import BasePlugin

FILE = "collated_{rank}.jsonl"
COLUMNS = ("prompt", "chosen_ids", "input_ids")
"""By which a row is known again: the first of them that it has."""


class CollatedPlugin(BasePlugin):
    """`plugins: [..., collated.CollatedPlugin]`; batches of evaluations are left out."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The one hook with a finished trainer that Axolotl 0.19 calls in every kind of training; it adds none."""
        collate, evaluate, evaluating = trainer.data_collator, trainer.evaluation_loop, False

        def evaluated(*args: Any, **kwargs: Any) -> Any:
            nonlocal evaluating
            evaluating = True
            try:
                return evaluate(*args, **kwargs)
            finally:
                evaluating = False

        trainer.evaluation_loop = evaluated
        path = Path(trainer.args.output_dir) / FILE.format(rank=trainer.args.process_index)

        def written(rows: list[Any]) -> Any:
            if evaluating:
                return collate(rows)
            with path.open("a") as file:
                for row in rows:
                    known = row[next(name for name in COLUMNS if name in row)]
                    if not isinstance(known, str):
                        chat = isinstance(known[0], dict)
                        known = known[-1]["content"] if chat else trainer.processing_class.decode(known)
                    file.write(json.dumps(known) + "\n")
            return collate(rows)

        trainer.data_collator = written
        return []
